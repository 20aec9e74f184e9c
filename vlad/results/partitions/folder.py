"""Partitions in a folder that all machines share."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from vlad.results.runjson import SETTINGS
from vlad.system.files import atomic_write, cannot_write
from vlad.system.lock import locked
from vlad.system.workspace import Workspace

CALIBRATION = "calibration.json"  # with verdicts
KEPT = (CALIBRATION, "drift.json")
RUN = Workspace(
    "vlad run on ray",
    "run.json",
    (*SETTINGS, "calibration"),
    ("part-*.parquet", "scores", *KEPT),
)
PARTS = ("part-*.parquet", "scores/date=*/part-*.parquet")  # the first of an earlier vlad
MARK = b"vlad.run"  # in the metadata of a partition: `mark_of` its run
_OPEN, _CLOSED = ".writing-", ".closed-"


def mark_of(settings: Mapping) -> bytes:
    """What tells the partitions of a run with these settings from those of others.

    Args:
        settings: of its run.json; `prompts` do not count, since later commands may add categories.
    """
    kept = {k: v for k, v in settings.items() if k not in ("kind", "format", "prompts")}
    # through JSON, so that settings read back have the same mark
    text = json.dumps(json.loads(json.dumps(kept)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16].encode()


@dataclass(frozen=True)
class Folder:
    """The output folder of a run; names of partitions are relative to it.

    Attributes:
        at: absolute path; what `run` takes.
    """

    at: Path
    run: ClassVar[Workspace] = RUN

    def __str__(self) -> str:
        return str(self.at)

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Keeps other commands from writing here."""
        return locked(self.at)

    def parts(self) -> list[str]:
        """The names of all partitions."""
        found = [path for pattern in PARTS for path in self.at.glob(pattern)]
        return sorted(path.relative_to(self.at).as_posix() for path in found)

    def unfinished(self) -> bool:
        """Whether a command writes here, or was stopped or killed."""
        return any(path for mark in (_OPEN, _CLOSED) for path in self.at.glob(f"{mark}*"))

    def open(self, name: str) -> BinaryIO:
        return open(self.at / name, "rb")

    def put(self, name: str, content: bytes) -> None:
        """Write another file.

        Raises:
            OutputError: it cannot be written.
        """
        atomic_write(self.at / name, content)

    def remove(self, name: str) -> None:
        """Delete a partition.

        Raises:
            OutputError: it cannot be deleted.
        """
        try:
            (self.at / name).unlink()
        except OSError as error:
            raise cannot_write(self.at / name, error) from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[str]:
        """The name of the folder in which this command writes partitions before they are in place.

        Workers may outlive a command that was killed. From here on, those of earlier commands write
        nothing, since their folders are gone; so the partitions listed next are all there are.

        Raises:
            OutputError: the folder cannot be written to.
        """
        own = self.at / f"{_OPEN}{uuid.uuid4().hex}"
        try:
            for old in self.at.glob(f"{_OPEN}*"):
                # renamed as one step: a worker can put a file in place before it or not at all
                old.rename(self.at / old.name.replace(_OPEN, _CLOSED))
            for old in self.at.glob(f"{_CLOSED}*"):
                shutil.rmtree(old)
            own.mkdir()
        except OSError as error:
            raise cannot_write(self.at, error) from error
        try:
            yield own.name
        except BaseException:
            # readers see that the run is not finished, and its workers write nothing more
            with contextlib.suppress(OSError):
                own.rename(self.at / own.name.replace(_OPEN, _CLOSED))
            raise
        shutil.rmtree(own, ignore_errors=True)

    def write(self, folder: str, name: str, table: pa.Table) -> None:
        """Put a partition in place; replace one of the same name.

        Args:
            folder: of `writing`.

        Raises:
            OutputError: it cannot be written, or a later command has begun.
        """
        path = self.at / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        write = lambda file: pq.write_table(table, file)  # noqa: E731
        atomic_write(path, write, through=self.at / folder)

    def tried(self, folder: str, name: str) -> int:
        """Count one more attempt at a partition -> how many there were.

        Raises:
            OutputError: it cannot be written down, or a later command has begun.
        """
        path = self.at / folder / f"{Path(name).name}.tries"
        try:
            with open(path, "ab") as file:
                file.write(b".")
                return file.tell()
        except OSError as error:
            raise cannot_write(path, error) from error

    def finish(self, folder: str, name: str) -> None:
        """Nothing: `write` has put the partition in place."""
