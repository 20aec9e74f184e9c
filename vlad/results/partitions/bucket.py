"""Partitions in an object store, which has neither renames nor locks."""

from __future__ import annotations

import contextlib
import io
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, BinaryIO, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from vlad.errors import InputError, OutputError, VladError
from vlad.results.partitions.folder import PARTS, RUN
from vlad.system.text import decode, shown
from vlad.system.workspace import Workspace

_OPEN, _BEGUN = ".writing-", "begun"


class _Run(Workspace):
    """The settings of a run as an object."""

    def read(self, out: Any) -> Any:
        if self.file not in out.listed(self.file):
            return None
        with out.open(self.file) as file:
            return json.loads(decode(file.read()))

    def names(self, out: Any) -> list[str]:
        return sorted({name.split("/")[0] for name in out.listed()})

    def write(self, out: Any, content: bytes) -> None:
        out.put(self.file, content)


@dataclass(frozen=True)
class Bucket:
    """A prefix in an object store that fsspec knows; names of partitions are relative to it.

    Workers write objects that do not count yet. The command, not the workers, copies each to its
    place, so nothing comes to it once that command has ended or a later one has begun.

    Attributes:
        url: such as s3://bucket/runs/archive, without a slash at its end.

    Raises:
        InputError: the driver of the store is not installed.
    """

    url: str
    run: ClassVar[Workspace] = _Run(RUN.kind, RUN.file, RUN.fields, RUN.parts)

    def __post_init__(self) -> None:
        try:
            fsspec.url_to_fs(self.url)
        except Exception as error:  # each kind of store has errors of its own
            raise InputError(
                f"cannot use {self.url} ({shown(error)}); check it, and its fsspec driver."
            ) from error

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> str:
        return f"{self.url}/{name}"

    @property
    def at(self) -> Any:
        """What `run` takes."""
        return self

    @property
    def store(self) -> fsspec.AbstractFileSystem:
        return fsspec.url_to_fs(self.url)[0]  # kept by fsspec

    @property
    def root(self) -> str:
        return fsspec.url_to_fs(self.url)[1]

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Nothing: `finish` stops the earlier of two commands."""
        return contextlib.nullcontext()

    def listed(self, below: str = "") -> list[str]:
        """The names of all objects, or of those that begin with a folder's name.

        Raises:
            OutputError: the store cannot be listed.
        """
        with _reported(self):
            self.store.invalidate_cache()
            found = self.store.find(f"{self.root}/{below}".rstrip("/"))
        return [name.removeprefix(self.root).lstrip("/") for name in found]

    def parts(self) -> list[str]:
        """The names of all partitions."""
        names = self.listed("scores")
        return sorted(name for name in names if any(fnmatch(name, part) for part in PARTS))

    def unfinished(self) -> bool:
        """Whether a command writes here, or was stopped or killed."""
        return any(name.startswith(_OPEN) for name in self.listed())

    def open(self, name: str) -> BinaryIO:
        """An object, read as a whole.

        Raises:
            OutputError: it cannot be read.
        """
        with _reported(self):
            return io.BytesIO(self.store.cat_file(f"{self.root}/{name}"))

    def put(self, name: str, content: bytes) -> None:
        """Write an object.

        Raises:
            OutputError: it cannot be written.
        """
        with _reported(self):
            self.store.pipe_file(f"{self.root}/{name}", content)

    def remove(self, name: str) -> None:
        """Delete a partition.

        Raises:
            OutputError: it cannot be deleted.
        """
        with _reported(self):
            self.store.rm_file(f"{self.root}/{name}")

    @contextlib.contextmanager
    def writing(self) -> Iterator[str]:
        """The name of the folder of this command's partitions before they are in place.

        Raises:
            OutputError: the store cannot be written to.
        """
        own = f"{_OPEN}{uuid.uuid4().hex}"
        for old in {n.split("/")[0] for n in self.listed() if n.startswith(_OPEN)}:
            self._drop(old)
        self.put(f"{own}/{_BEGUN}", b"")
        yield own  # if that fails, it stays, and readers see that the run is not finished
        with contextlib.suppress(VladError):
            self._drop(own)

    def write(self, folder: str, name: str, table: pa.Table) -> None:
        """Write a partition that `finish` puts in place.

        Args:
            folder: of `writing`.

        Raises:
            OutputError: it cannot be written.
        """
        file = io.BytesIO()
        pq.write_table(table, file)
        self.put(f"{folder}/{name}", file.getvalue())

    def tried(self, folder: str, name: str) -> int:
        """Count one more attempt at a partition -> how many there were.

        Raises:
            OutputError: the store cannot be used.
        """
        below = f"{folder}/tries/{name}"
        self.put(f"{below}/{uuid.uuid4().hex}", b"")
        return len(self.listed(below))

    def finish(self, folder: str, name: str) -> None:
        """Put a partition in place; replace one of the same name.

        Raises:
            OutputError: it cannot be copied, or a later command has begun.
        """
        with _reported(self):
            self.store.invalidate_cache()
            if not self.store.exists(f"{self.root}/{folder}/{_BEGUN}"):
                raise OutputError(
                    f"another command began to write to {self.url}, so this one stops; let that "
                    "one finish."
                )
            self.store.cp_file(f"{self.root}/{folder}/{name}", f"{self.root}/{name}")

    def _drop(self, folder: str) -> None:
        with _reported(self):
            self.store.invalidate_cache()
            self.store.rm(f"{self.root}/{folder}", recursive=True)


@contextlib.contextmanager
def _reported(bucket: Bucket) -> Iterator[None]:
    """Errors of a store as one sentence."""
    try:
        yield
    except VladError:
        raise
    except Exception as error:  # each kind of store has errors of its own
        raise OutputError(
            f"cannot use {bucket.url} ({shown(error) or type(error).__name__}); check the address "
            "and your rights, and repeat the command, a scoring one with `resume`."
        ) from error
