"""Files of JSON, a value a line, that grow while a run goes on and survive its being killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from vlad.system.files import cannot_write


def append_lines(file: Path, values: Iterable[object]) -> None:
    """Append values to a file.

    Raises:
        OutputError: the file cannot be written.
    """
    data = b"".join(map(line, values))
    try:
        with open(file, "a+b") as opened:
            if opened.tell():
                opened.seek(-1, os.SEEK_END)
                if opened.read() != b"\n":  # torn when an earlier command was killed
                    data = b"\n" + data
            opened.write(data)
    except OSError as error:
        raise cannot_write(file, error) from error


def line(value: object) -> bytes:
    """A value as a line, ASCII."""
    return json.dumps(value).encode() + b"\n"


def read_lines(file: Path) -> Iterator[Any]:
    """The value of each whole line; none where there is no file."""
    with suppress(FileNotFoundError), open(file, "rb") as opened:
        for one in opened:
            with suppress(ValueError):  # a torn one, which what wrote it writes again
                yield json.loads(one)
