"""The result of each image of a run, stored so compactly that long runs stay small."""

from __future__ import annotations

import math
import os
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple


class State(NamedTuple):
    """What an image file was when it was read.

    Attributes:
        size: bytes.
        modified: time of its last change, in ns since 1970.
        read: when it was read, in ns since 1970.
    """

    size: int
    modified: int
    read: int

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> State | None:
        """That of a file as it is now; None where there is none."""
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return None
        return cls(found.st_size, found.st_mtime_ns, time.time_ns())

    def same(self, other: State | None) -> bool:
        """Whether the file is as it was, as far as that is known."""
        return other is None or self[:2] == other[:2]


_NO_KINDS: Mapping[str, str] = MappingProxyType({})  # one for all rows


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one image.

    Attributes:
        path: the image as the user named it; it identifies the row.
        scores: head -> image_score; a head that gave none is absent.
        error: why the image could not be scored, or None.
        state: of its file, where that is known.
        kinds: head -> nearest known kind of defect, "" for none, as in `Scored`.
    """

    path: str
    scores: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    state: State | None = None
    kinds: Mapping[str, str] = field(default_factory=lambda: _NO_KINDS)


_UNKNOWN = State(-1, -1, -1)


class Rows(MutableMapping[str, Row]):
    """path -> Row, kept as numbers: 8 bytes for each head, 24 for the state of its
    file, and a dictionary entry for its path.

    NaN stands for a score that the head did not give.

    Args:
        heads: the heads that scores may come from.
    """

    def __init__(self, heads: Iterable[str]):
        self.heads = tuple(heads)
        self._places: dict[str, int] = {}
        self._filled = bytearray()  # 1 where a place has its row
        self._scores = array("d")
        self._states = array("q")
        self._errors: dict[str, str] = {}
        self._kinds: dict[str, Mapping[str, str]] = {}
        self._shared: dict[tuple, Mapping[str, str]] = {}  # few differ, so each is kept once

    def reserve(self, paths: Iterable[str]) -> None:
        """Allocate the memory of rows to come, so that adding them takes none."""
        for path in paths:
            if path not in self._places:
                self._places[path] = len(self._filled)
                self._filled.append(0)
                self._scores.extend([math.nan] * len(self.heads))
                self._states.extend(_UNKNOWN)

    @property
    def failed(self) -> int:
        """The number of images that could not be scored."""
        return len(self._errors)

    def scored(self, path: str | None) -> bool:
        """Whether an image has a row without an error."""
        return path in self and path not in self._errors

    def __getitem__(self, path: str) -> Row:
        if path not in self:
            raise KeyError(path)
        start = self._places[path] * len(self.heads)
        scores = zip(self.heads, self._scores[start : start + len(self.heads)], strict=True)
        given = {head: score for head, score in scores if not math.isnan(score)}
        place = 3 * self._places[path]
        state: State | None = State(*self._states[place : place + 3])
        state = None if state == _UNKNOWN else state
        return Row(path, given, self._errors.get(path), state, self._kinds.get(path, _NO_KINDS))

    def __setitem__(self, path: str, row: Row) -> None:
        self.reserve([path])
        place = self._places[path]
        self._filled[place] = 1
        for at, head in enumerate(self.heads, place * len(self.heads)):
            self._scores[at] = row.scores.get(head, math.nan)
        self._states[3 * place : 3 * place + 3] = array("q", row.state or _UNKNOWN)
        if row.error is None:
            self._errors.pop(path, None)
        else:
            self._errors[path] = row.error
        self._kinds.pop(path, None)
        if row.kinds:
            self._kinds[path] = self._shared.setdefault(tuple(row.kinds.items()), row.kinds)

    def __delitem__(self, path: str) -> None:
        if path not in self:
            raise KeyError(path)
        self._filled[self._places[path]] = 0
        self._errors.pop(path, None)
        self._kinds.pop(path, None)

    def __contains__(self, path: object) -> bool:
        place = self._places.get(path) if isinstance(path, str) else None
        return place is not None and bool(self._filled[place])

    def __iter__(self) -> Iterator[str]:
        return (path for path, place in self._places.items() if self._filled[place])

    def __len__(self) -> int:
        return sum(self._filled)
