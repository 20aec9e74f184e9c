"""Finished rows as columns, for scores.csv and scores.parquet."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from vlad.system.text import csv_line, csv_path, csv_text, encode, printable

if TYPE_CHECKING:
    from vlad.results.rows import Row

Column = Sequence[object]  # of str, float, int, bool or None
_TYPES = {float: "double", int: "int64", bool: "bool", str: "string"}


def columns(
    rows: Collection[Row], heads: Iterable[str], more: Mapping[str, Mapping[str, object]]
) -> dict[str, Column]:
    """Name -> values in the order of the rows.

    Args:
        more: name of a further column -> path -> value; placed before the errors.
    """
    return {
        "path": [row.path for row in rows],
        **{head: [row.scores.get(head) for row in rows] for head in heads},
        **{name: [values.get(row.path) for row in rows] for name, values in more.items()},
        "error": [row.error for row in rows],
    }


def csv_bytes(table: Mapping[str, Column], header: bool = True) -> bytes:
    """The names of the columns, and a line for each row."""
    lines = [csv_line(table)] if header else []
    cells = ([_cell(name, value) for value in values] for name, values in table.items())
    lines += map(csv_line, zip(*cells, strict=True))
    return encode("".join(lines))


def write_parquet(table: Mapping[str, Column], file: BinaryIO) -> None:
    """Write the same with types; a column without any value holds numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for name, values in table.items():
        found = next((type(value) for value in values if value is not None), float)
        kind = "string" if name in ("path", "error") else _TYPES[found]
        if kind == "string":
            values = [None if value is None else printable(str(value)) for value in values]
        arrays[name] = pa.array(values, kind)
    pq.write_table(pa.table(arrays), file)


def _cell(column: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return csv_path(value) if column == "path" else csv_text(value)
    if isinstance(value, bool):
        return str(value).lower()
    # the repr of a NumPy number would include its type
    return repr(float(value)) if isinstance(value, float) else str(value)
