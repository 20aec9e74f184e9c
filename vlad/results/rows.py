"""The result of each image of a run, stored so compactly that long runs stay small."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one image.

    Attributes:
        path: the image as the user named it; it identifies the row.
        scores: head -> image_score; a head that gave none is absent.
        error: why the image could not be scored, or None.
    """

    path: str
    scores: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None


class Rows(MutableMapping[str, Row]):
    """path -> Row, kept as numbers: 8 bytes for each head, and a dictionary entry for its path.

    NaN stands for a score that the head did not give.

    Args:
        heads: the heads that scores may come from.
    """

    def __init__(self, heads: Iterable[str]):
        self.heads = tuple(heads)
        self._places: dict[str, int] = {}
        self._filled = bytearray()  # 1 where a place has its row
        self._scores = array("d")
        self._errors: dict[str, str] = {}

    def reserve(self, paths: Iterable[str]) -> None:
        """Allocate the memory of rows to come, so that adding them takes none."""
        for path in paths:
            if path not in self._places:
                self._places[path] = len(self._filled)
                self._filled.append(0)
                self._scores.extend([math.nan] * len(self.heads))

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
        return Row(path, given, self._errors.get(path))

    def __setitem__(self, path: str, row: Row) -> None:
        self.reserve([path])
        place = self._places[path]
        self._filled[place] = 1
        for at, head in enumerate(self.heads, place * len(self.heads)):
            self._scores[at] = row.scores.get(head, math.nan)
        if row.error is None:
            self._errors.pop(path, None)
        else:
            self._errors[path] = row.error

    def __delitem__(self, path: str) -> None:
        if path not in self:
            raise KeyError(path)
        self._filled[self._places[path]] = 0
        self._errors.pop(path, None)

    def __contains__(self, path: object) -> bool:
        place = self._places.get(path) if isinstance(path, str) else None
        return place is not None and bool(self._filled[place])

    def __iter__(self) -> Iterator[str]:
        return (path for path, place in self._places.items() if self._filled[place])

    def __len__(self) -> int:
        return sum(self._filled)
