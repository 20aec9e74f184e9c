"""The request log: a line of JSON for each request."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from vlad.system.files import cannot_write

STDOUT = "-"


class RequestLog:
    """Appends lines to a file; one that was moved away is made again, as `logrotate` wants it.

    A line that cannot be written is left out, for scoring goes on: the first is reported on stderr,
    and their number once a line can be written again.

    Args:
        path: the file, or - for stdout.

    Raises:
        OutputError: the file cannot be opened.
    """

    def __init__(self, path: str):
        self.path = path
        self._missing = 0
        try:
            self._torn = path != STDOUT and _is_torn(path)  # by a service that was killed
            self._handle = sys.stdout.fileno() if path == STDOUT else self._open()
        except OSError as error:
            raise cannot_write(path, error) from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record as one line."""
        line = ("\n" if self._torn else "") + json.dumps(record, separators=(",", ":")) + "\n"
        data = line.encode("ascii")
        try:
            self._follow()
            written = os.write(self._handle, data)
            self._torn = written < len(data)
            if self._torn:
                raise OSError("no room for the whole line")
        except OSError as error:
            self._missing += 1
            if self._missing == 1:
                reason = error.strerror or error
                click.echo(
                    f"The request log {self.path} cannot be written ({reason}); requests are "
                    "answered, but not logged.",
                    err=True,
                )
            return
        if self._missing:
            click.echo(
                f"{self.path} can be written again; lines left out: {self._missing}.", err=True
            )
            self._missing = 0

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def _follow(self) -> None:
        """Open the file again if it was moved or deleted."""
        if self.path == STDOUT:
            return
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            found = None
        own = os.fstat(self._handle)
        if found is None or (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino):
            opened = self._open()
            os.close(self._handle)
            self._handle, self._torn = opened, False


def _is_torn(path: str) -> bool:
    """Whether a file ends in the middle of a line."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 1))
        return file.read(1) not in (b"", b"\n")
