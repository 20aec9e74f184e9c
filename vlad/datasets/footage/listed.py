"""The user's own labelled videos, listed in a CSV table.

A row is a stretch of anomalous frames: `video,first,last`, frames counted from 0, ends included; a
normal video has one row with both empty. Paths are relative to the table.
"""

from __future__ import annotations

import os
from pathlib import Path

from vlad.datasets.footage.clip import Clip, Truth
from vlad.errors import InputError
from vlad.system.spreadsheet import read_rows


class Listed:
    """A CSV table of labelled videos.

    Raises:
        InputError: the table cannot be read, or a line is invalid.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._path = Path(path).expanduser()
        self._spans: dict[Path, list[tuple[int, int]]] = {}
        for line, row in read_rows(self._path, "a table of videos", "video,first,last"):
            spans = self._spans.setdefault(self._path.parent / row["video"], [])
            ends = row.get("first", ""), row.get("last", "")
            if ends == ("", ""):
                continue
            if not all(end.isdecimal() for end in ends) or int(ends[0]) > int(ends[1]):
                raise InputError(
                    f"line {line} of {self._path} has the frames {ends[0]!r} to {ends[1]!r}; write "
                    "the first and last of a stretch, or leave both empty."
                )
            spans.append((int(ends[0]), int(ends[1]) + 1))
        if not self._spans:
            raise InputError(f"{self._path} lists no videos; add a line for each.")

    def train(self) -> list[Path]:
        """None: the table is a test set."""
        return []

    def test(self) -> list[Clip]:
        """The videos, with labels."""
        return [
            Clip(path, lambda spans=tuple(spans): Truth(spans))  # type: ignore[misc]
            for path, spans in self._spans.items()
        ]
