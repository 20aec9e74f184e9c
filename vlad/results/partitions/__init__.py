"""The rows that `vlad score --engine ray` writes: Parquet files by date, in a folder or a store."""
