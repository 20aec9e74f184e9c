"""Images as Python users give them, and what they get back for each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import chain, islice
from threading import Lock
from typing import cast

import numpy as np
from PIL import Image

from vlad.calibration.copies import mark
from vlad.datasets import list_samples
from vlad.errors import ImageError, InputError
from vlad.images import ImageLike, as_image, is_image
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Pools, Prepared, Scored, score_items
from vlad.scoring.record import LENGTH, digest_of
from vlad.scoring.setup import Setup
from vlad.types import Box, Seen

# Pillow decodes an opened image on first use, but not in two threads at once
_DECODING = Lock()

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
        seen: how it looks as a whole, to notice drift; None with an error.
    """

    image: ImageLike | Prepared
    index: int
    size: tuple[int, int] | None = None
    image_score: float | None = None
    anomaly_map: np.ndarray | None = None
    error: str | None = None
    kind: str | None = None
    seen: Seen | None = None


@dataclass(frozen=True, eq=False)
class Given:
    """One of the given images, for the pipeline."""

    image: ImageLike | Prepared
    index: int
    category: str | None = None
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


def open_given(given: Given, setup: Setup) -> Image.Image | Prepared:
    """An image as upright 8-bit RGB, or one prepared before as it is.

    Raises:
        ImageError: it cannot be used.
    """
    image = given.image
    if isinstance(image, Prepared):
        return image
    if isinstance(image, str | os.PathLike):
        return setup.open_image(image)
    with _DECODING:
        return as_image(image, max_pixels=setup.max_pixels, bits=setup.bits)


def unprepared(image: Image.Image | Prepared) -> Image.Image:
    """The image as it is, or an ImageError for one prepared before."""
    if isinstance(image, Prepared):
        raise ImageError("a prepared image is for `score` only; give the image itself.")
    return image


class Marking:
    """Opens images, and keeps name, mark and digest of each in the order of their indices."""

    def __init__(self, setup: Setup):
        self._setup = setup
        self._seen: dict[int, tuple[str, np.ndarray | None, str]] = {}

    def __call__(self, given: Given) -> Image.Image | Prepared:
        image = open_given(given, self._setup)
        name = getattr(given.image, "filename", None) or given.path
        if isinstance(image, Prepared):
            self._seen[given.index] = name, None, ""
        else:
            self._seen[given.index] = name, mark(image), _digest(given.image, image)
        return image

    @property
    def names(self) -> list[str]:
        """Files of the images, or their positions in words."""
        return [self._seen[i][0] for i in sorted(self._seen)]

    @property
    def marks(self) -> list[np.ndarray | None]:
        """Their marks (see `vlad.calibration.copies`); None for images prepared before."""
        return [self._seen[i][1] for i in sorted(self._seen)]

    @property
    def digests(self) -> dict[str, str]:
        """Name -> digest of its file, or of the pixels of an image without one."""
        return {name: digest for _, (name, _, digest) in sorted(self._seen.items())}


def _digest(given: object, image: Image.Image) -> str:
    if isinstance(given, str | os.PathLike):
        return digest_of(given)
    return hashlib.sha256(image.tobytes()).hexdigest()[:LENGTH]


def score_given(
    panel: Panel,
    items: Iterable[Given],
    open_item: Callable[[Given], Image.Image | Prepared],
    batch_size: int,
) -> Iterator[Scored[Given]]:
    """Score images in order, read ahead by up to two batches, on a GPU by three.

    A head that scores images jointly yields nothing before it has all images.
    """
    pools: Pools[Given] = Pools(panel.tiling)
    scored = chain.from_iterable(
        score_items(panel, items, batch_size=batch_size, open_item=open_item, pools=pools)
    )
    if not panel.transductive:
        yield from scored
        return
    failed = [one for one in scored if one.failure is not None]
    joint = chain.from_iterable(pools.scores())
    yield from merge(failed, joint, key=lambda one: one.sample.index)
