"""The scored images of a report, in order."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vlad.results.rows import Row
from vlad.types import Sample


@dataclass(frozen=True)
class Entry:
    """A scored image.

    Attributes:
        ranks: its place from 1 (the worst) under each head.
        name: its path below the folder that all images share.
        number: its place in the report, from 0.
    """

    row: Row
    sample: Sample
    ranks: tuple[int, ...]
    name: str
    number: int


def ranked(found: Sequence[tuple[Row, Sample]], heads: Sequence[str]) -> tuple[list[Entry], str]:
    """Entries worst first by the first head, and the folder that their names are below.

    A missing or NaN score comes last. The folder is "" if names are whole paths.
    """
    ranks: list[list[int]] = [[0] * len(heads) for _ in found]
    for column, head in enumerate(heads):
        scores = [row.scores.get(head, math.nan) for row, _ in found]
        keys = [math.inf if math.isnan(score) else -score for score in scores]
        for rank, index in enumerate(sorted(range(len(found)), key=keys.__getitem__), start=1):
            ranks[index][column] = rank
    names, folder = _short_names([row.path for row, _ in found])
    order = sorted(range(len(found)), key=ranks.__getitem__)
    return [
        Entry(*found[index], tuple(ranks[index]), names[index], number)
        for number, index in enumerate(order)
    ], folder


def worst(entries: Sequence[Entry], most: int) -> list[Entry]:
    """The entries that a head ranks worst, up to `most`, in order and numbered from 0."""
    kept = sorted(entries, key=lambda e: (min(e.ranks), e.ranks))[:most]
    kept.sort(key=lambda e: e.number)
    return [replace(entry, number=number) for number, entry in enumerate(kept)]


def _short_names(paths: Sequence[str]) -> tuple[list[str], str]:
    """The paths without the folder that all of them share, and that folder."""
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in paths])
        names = [os.path.relpath(path, common or ".") for path in paths]
    except ValueError:  # absolute and relative paths, or two drives
        return list(paths), ""
    if all(os.path.join(common, name) == path for name, path in zip(names, paths, strict=True)):
        return names, common
    return list(paths), ""  # with "..", a name does not lead back to its path
