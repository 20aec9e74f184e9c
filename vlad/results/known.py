"""What a run knows of its images: scores of all heads, maxima of maps, marks of copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from vlad.calibration.copies import mark
from vlad.errors import ImageError
from vlad.results.folder import RunFolder
from vlad.results.maps import largest_cut, read_map
from vlad.scoring.ahead import READERS
from vlad.types import Sample


def known_scores(
    folder: RunFolder, samples: Sequence[Sample]
) -> tuple[list[Sample], dict[str, np.ndarray]]:
    """The images that every head has scored, and head -> (N,) scores."""
    good, rows = [], []
    for sample in samples:
        row = folder.rows.get(str(sample.path))
        if row is not None and row.error is None and set(folder.heads) <= set(row.scores):
            good.append(sample)
            rows.append([row.scores[head] for head in folder.heads])
    table = np.array(rows, float).reshape(len(rows), len(folder.heads))
    return good, dict(zip(folder.heads, table.T, strict=True))


def map_maxima(folder: RunFolder, samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """Head -> (N,) largest value of each map, also where its file was cut; heads that lack the
    file of a map are left out."""
    found = {}
    for head in folder.heads:
        paths = [folder.map_path(head, sample) for sample in samples]
        if all(path.exists() for path in paths):
            found[head] = np.array([largest_cut(p) or read_map(p).max() for p in paths], float)
    return found


def marks_of(
    samples: Iterable[Sample], open_image: Callable[[Path], Image.Image]
) -> list[np.ndarray | None]:
    """What `find_copies` compares of each image; None of one that cannot be read."""

    def read(sample: Sample) -> np.ndarray | None:
        try:
            return mark(open_image(sample.path))
        except ImageError:
            return None

    with ThreadPoolExecutor(READERS) as threads:
        return list(threads.map(read, samples))
