"""The partitions of a run: where they are, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from vlad.errors import OutputError
from vlad.results.partitions.bucket import Bucket
from vlad.results.partitions.folder import Folder

STATE = ("size", "modified")  # columns of what an image file was when it was read
READERS = 8  # partitions read at once: an object store answers late, but many


def place(out: str) -> Folder | Bucket:
    """The place of a run: a folder, or a URL that fsspec knows.

    Raises:
        InputError: the driver of the store is not installed.
    """
    if "://" not in out:
        return Folder(Path(out).absolute())
    bucket = Bucket(out.rstrip("/"))
    local = isinstance(bucket.store, LocalFileSystem)  # which has locks and renames
    return Folder(Path(bucket.root)) if local else bucket


def read(
    where: Folder | Bucket, names: Sequence[str], wanted: Callable[[str], bool]
) -> list[pa.Table]:
    """The columns of each partition whose names are wanted.

    Raises:
        OutputError: a partition cannot be read back.
    """

    def one(part: str) -> pa.Table:
        try:
            with where.open(part) as opened, pq.ParquetFile(opened) as file:
                return file.read([name for name in file.schema_arrow.names if wanted(name)])
        except (OSError, pa.ArrowException) as error:
            raise OutputError(
                f"{where}/{part} cannot be read back ({error}); remove that file and `resume` "
                "the run."
            ) from error

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(one, names))
