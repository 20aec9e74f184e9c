"""Images as Python users give them, and what they get back for each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import cast

import numpy as np

from vlad.datasets import list_samples
from vlad.errors import InputError
from vlad.images import ImageLike, is_image
from vlad.scoring.pipeline import Prepared
from vlad.types import Box

# one image, or several: each an image, a batch (B, ...), or a file, folder or pattern
Images = ImageLike | Prepared | Iterable[ImageLike | Prepared]


@dataclass(frozen=True)
class ScoredImage:
    """The result of `Detector.stream` for one image.

    Attributes:
        image: the image as given.
        index: its position among those given, from 0.
        size: its upright (width, height); None if it is unreadable.
        image_score: higher is more anomalous; None with an error.
        anomaly_map: (S, S), or (height, width) for an image cut into tiles; None with an error.
        error: why it was not scored, in one sentence, or None.
        kind: nearest known kind of defect, "" for none; None from a head that knows no kinds.
    """

    image: ImageLike | Prepared
    index: int
    size: tuple[int, int] | None = None
    image_score: float | None = None
    anomaly_map: np.ndarray | None = None
    error: str | None = None
    kind: str | None = None


@dataclass(frozen=True, eq=False)
class Given:
    """One of the given images, for the pipeline."""

    image: ImageLike | Prepared
    index: int
    category: str | None
    boxes: tuple[Box, ...] = ()

    @property
    def path(self) -> str:
        """Its name in errors."""
        named = isinstance(self.image, str | os.PathLike)
        return str(self.image) if named else f"image {self.index}"


def each_image(given: Images) -> Iterable[ImageLike | Prepared]:
    """The images one by one, also from folders, patterns and batches."""
    found = _each(given)
    first = list(islice(found, 1))
    if not first:
        raise InputError("`images` is empty; give files, folders, patterns or images.")
    # images of an iterator are opened one by one, not held all at once
    return chain(first, found) if isinstance(given, Iterator) else [*first, *found]


def _each(given: Images) -> Iterator[ImageLike | Prepared]:
    for item in given if isinstance(given, Iterable) and not is_image(given) else [given]:
        if isinstance(item, str | os.PathLike):
            yield from (sample.path for sample in list_samples([item]))
        elif getattr(item, "ndim", 0) == 4:
            yield from cast(Iterable[ImageLike], item)  # a batch
        else:
            yield item
