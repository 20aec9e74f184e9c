"""Images that people labelled, with labels.csv, in one folder: what `vlad review apply` reads."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from vlad.errors import InputError, OutputError
from vlad.review.labels import HEADER, Label, label_line
from vlad.scoring.record import LENGTH
from vlad.serving.limits import MAX_LABELLED, MAX_LABELLED_BYTES, MAX_TABLE
from vlad.system.files import atomic_write, cannot_write, check_writable
from vlad.system.lock import locked
from vlad.system.text import csv_line, encode, end_of_last_record

_FIRST = encode(csv_line(HEADER))
_PATIENCE = 10.0  # seconds to wait for another service that writes to the same folder


class Labels:
    """A folder with images/<digest>.<suffix> and labels.csv, which only grows.

    An image is on disk before its label, and each label before its reply, so a killed service
    loses nothing that it acknowledged. Several services may share the folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = threading.Lock()  # where the file system has no locks

    @property
    def table(self) -> Path:
        return self.folder / "labels.csv"

    def check(self) -> None:
        """Check that labels can be added.

        Raises:
            OutputError: the folder cannot be written to.
            InputError: its labels.csv has another header.
        """
        check_writable(self.folder)
        if self.table.exists():
            with open(self.table, "rb") as file:
                first = file.read(len(_FIRST))
            if not _FIRST.startswith(first):
                raise InputError(
                    f"{self.table} does not begin with {','.join(HEADER)}, as if another program "
                    "wrote it; rename it, or choose another folder."
                )

    def add(self, content: bytes, suffix: str, label: str, kind: str, by: str) -> Label:
        """Keep an image and what somebody says about it.

        Args:
            content: of the image's file.
            suffix: of its name, as in ".png".
            label: "good" or "defective".
            kind: kind of defect, or "".
            by: name of the person, or "".

        Raises:
            OutputError: the folder is full, or cannot be written to.
        """
        digest = hashlib.sha256(content).hexdigest()[:LENGTH]
        with self._lock, locked(self.folder, _PATIENCE):
            path = self._find(digest)
            if path is None:
                self._check_room(len(content))
                path = self.folder / "images" / f"{digest}{suffix}"
                atomic_write(path, content)
            return self._append(path, label, kind, digest, by)

    def take_back(self, digest: str, by: str) -> bool:
        """Take back what somebody said about an image; return whether such an image is kept.

        Raises:
            OutputError: the folder is full, or cannot be written to.
        """
        with self._lock, locked(self.folder, _PATIENCE):
            path = self._find(digest)
            if path is not None:
                self._append(path, "", "", digest, by)
        return path is not None

    def _find(self, digest: str) -> Path | None:
        return next((self.folder / "images").glob(f"{digest}.*"), None)

    def _check_room(self, size: int) -> None:
        with suppress(FileNotFoundError), os.scandir(self.folder / "images") as found:
            sizes = [entry.stat().st_size for entry in found]
            if len(sizes) >= MAX_LABELLED or sum(sizes) + size > MAX_LABELLED_BYTES:
                raise OutputError(
                    f"{self.folder} holds {len(sizes):,} labelled images, and may hold "
                    f"{MAX_LABELLED:,} of {MAX_LABELLED_BYTES:,} bytes in all; choose another "
                    "folder."
                )

    def _append(self, path: Path, label: str, kind: str, digest: str, by: str) -> Label:
        now = datetime.now(timezone.utc)
        made = Label(path.relative_to(self.folder).as_posix(), label, kind, digest, by, now)
        try:
            with open(self.table, "ab+") as file:
                file.seek(0)
                end = end_of_last_record(file.read())
                if end > MAX_TABLE:
                    raise OutputError(
                        f"{self.table} has more than {MAX_TABLE:,} bytes; choose another folder."
                    )
                file.truncate(end)  # what follows was cut off while written
                file.write((b"" if end else _FIRST) + encode(label_line(made)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.table, error) from error
        return made
