"""CSV lines that take any file name, and a file of them that may stop in the middle of one.

File names that are not UTF-8 reach us with surrogates; on disk they get their own bytes back.
"""

from __future__ import annotations

import io
from collections.abc import Iterable


def encode(text: str) -> bytes:
    """Text with any file names in it as the bytes of a file."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """The inverse of `encode`."""
    return data.decode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """Valid Unicode for any file name: bytes that are not UTF-8 become `\\xNN`."""
    return encode(text).decode("utf-8", "backslashreplace")


def csv_line(cells: Iterable[str]) -> str:
    """One record of CSV, quoted where it must be, with its line end."""
    # csv.writer leaves a lone carriage return unquoted before Python 3.13
    quoted = ('"' + c.replace('"', '""') + '"' if set(c) & set(',"\r\n') else c for c in cells)
    return ",".join(quoted) + "\n"


def end_of_last_record(data: bytes) -> int:
    """Bytes up to the last line end outside quotes: what follows was cut off while written."""
    end = position = quotes = 0
    for line in io.BytesIO(data):
        position += len(line)
        quotes += line.count(b'"')
        if line.endswith(b"\n") and quotes % 2 == 0:
            end = position
    return end
