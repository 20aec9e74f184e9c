"""Partitions on disk: each complete, and put in place only by workers of the current command."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vlad.errors import OutputError
from vlad.results.rows import State
from vlad.system.files import atomic_write, cannot_write

STATE = ("size", "modified")  # columns of what an image file was when it was read
_OPEN, _CLOSED = ".writing-", ".closed-"


def parts(out: Path) -> list[Path]:
    """The partitions of a folder."""
    return list(out.glob("part-*.parquet"))


def remove_parts(out: Path) -> None:
    """Delete the partitions of a folder.

    Raises:
        OutputError: one cannot be deleted.
    """
    for part in parts(out):
        try:
            part.unlink()
        except OSError as error:
            raise cannot_write(part, error) from error


def drop_changed(out: Path, folder: Path) -> list[str]:
    """Takes out the rows of files that have changed since they were read -> their paths.

    Args:
        folder: of `writing`.

    Raises:
        OutputError: a partition cannot be read or replaced.
    """
    found = []
    for part in parts(out):
        try:
            table = pq.read_table(part)
        except (OSError, pa.ArrowException) as error:
            raise OutputError(
                f"{out} cannot be read back ({error}); remove that file and repeat the command."
            ) from error
        if not set(STATE) <= set(table.column_names):
            continue  # of an earlier version
        rows = table.select(["path", *STATE]).to_pylist()
        kept = [not _changed(**row) for row in rows]
        if not all(kept):
            found += [row["path"] for row, keep in zip(rows, kept, strict=True) if not keep]
            write_part(folder, part.name, table.filter(pa.array(kept)))
    return found


def _changed(path: str, size: int | None, modified: int | None) -> bool:
    now = None if size is None else State.of(path)
    return now is not None and (now.size, now.modified) != (size, modified)


@contextlib.contextmanager
def writing(out: Path) -> Iterator[Path]:
    """The folder in which this command writes partitions before it puts them in place.

    Workers may outlive a command that was killed. From here on, those of earlier commands write
    nothing, since their folders are gone; so the partitions listed next are all there are.

    Raises:
        OutputError: the folder cannot be written to.
    """
    own = out / f"{_OPEN}{uuid.uuid4().hex}"
    try:
        for old in out.glob(f"{_OPEN}*"):
            # renamed as one step: a worker can put a file in place before it or not at all
            old.rename(out / old.name.replace(_OPEN, _CLOSED))
        for old in out.glob(f"{_CLOSED}*"):
            shutil.rmtree(old)
        own.mkdir()
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def write_part(folder: Path, name: str, table: pa.Table) -> None:
    """Put a partition beside the folder of `writing`; replace one of the same name.

    Raises:
        OutputError: it cannot be written, or a later command has begun.
    """
    path = folder.parent / name
    atomic_write(path, lambda file: pq.write_table(table, file), through=folder)
