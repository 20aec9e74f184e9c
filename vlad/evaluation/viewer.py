"""Images as heads see them: features that are extracted once and kept, to fit and score often."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import torch
from PIL import Image

from vlad.errors import InputError
from vlad.scoring.panel import Panel
from vlad.system.torch_state import own_state
from vlad.types import Features

ROOM = 8 << 30  # bytes of features
# head -> its features of each tile of an image, on the CPU
Shown = Mapping[str, Sequence[Features]]


class Viewer:
    """Shows images to the heads of a panel in one pass, and has the heads learn and score.

    The heads learn from normal images as they are: views (`Head.normal_views`) are not made.

    Args:
        panel: the heads; none of them transductive.
        category: what prompts call the images, for heads that read text.
        images: number of images that will be shown.
        room: bytes that their features may take.

    Attributes:
        seconds: head -> seconds for an image, of a pass of its own.
    """

    def __init__(self, panel: Panel, category: str | None, images: int, room: int = ROOM):
        self.panel = panel
        self.images, self.room = images, room
        self.texts = {name: panel.text(name, category) for name in panel.heads}
        self.seconds: dict[str, float] = {}
        for name, head in panel.heads.items():
            if head.normals != "unused":
                panel.specs[name] = panel.specs[name].with_normals()

    def show(self, images: Iterable[Image.Image]) -> Iterator[Shown]:
        """Each image as the heads see it, in order.

        Raises:
            InputError: the features of all images would take too much memory.
        """
        specs = [self.panel.specs[name] for name in self.panel.heads]
        counts: list[int] = []

        def prepared() -> Iterator[dict]:
            for image in images:
                self._time_passes(image)
                tiles = [self.panel.prepare(tile) for tile in self.panel.tiling.cut(image)]
                counts.append(len(tiles))
                yield from tiles

        waiting: list[list[Features]] = []  # of each tile, one of each head
        tiles = prepared()
        while batch := list(islice(tiles, self.panel.batch_size)):
            found = self._extract(batch, specs)
            waiting += ([f.at(i) for f in found] for i in range(len(batch)))
            while counts and len(waiting) >= counts[0]:
                self._check_room(waiting[0], counts[0])
                own = [waiting.pop(0) for _ in range(counts.pop(0))]
                yield dict(zip(self.panel.heads, zip(*own, strict=True), strict=True))

    @own_state()
    @torch.no_grad()
    def _extract(self, batch: Sequence[dict], specs: Sequence) -> list[Features]:
        return [f.to("cpu") for f in self.panel.extractor.extract(batch, specs)]

    def _time_passes(self, image: Image.Image) -> None:
        """Time a pass for each head alone, once: of those shared, none knows its part."""
        if self.seconds:
            return
        prepare = self.panel.extractor.prepare
        tiles = list(self.panel.tiling.cut(image))
        for name in self.panel.heads:
            specs, spent = [self.panel.specs[name]], []
            for tile in [tiles[0], *tiles]:  # the first pass of all is slower
                start = time.perf_counter()
                self._extract([prepare(tile, specs)], specs)
                spent.append(time.perf_counter() - start)
            self.seconds[name] = sum(spent[1:])

    def _check_room(self, tile: Sequence[Features], tiles: int) -> None:
        # heads share tensors
        stores = {x.untyped_storage().data_ptr(): x.nbytes for f in tile for x in _tensors(f)}
        needed = sum(stores.values()) * tiles * self.images
        if needed > self.room:
            raise InputError(
                f"The features of {self.images} images take {needed / 1e9:.0f} GB, more than "
                f"{self.room / 1e9:.0f} GB; give fewer images, a smaller `image_size` or a larger "
                "`tile`."
            )

    @own_state()
    @torch.no_grad()
    def fit(self, name: str, normals: Sequence[Shown]) -> None:
        """Have a head learn from normal images, replacing what it learned before."""
        tiles = [tile for shown in normals for tile in shown[name]]
        self.panel.heads[name].fit(Features.cat(tiles).to(self.panel.backbone.device))

    @own_state()
    @torch.no_grad()
    def score(self, name: str, images: Sequence[Shown]) -> np.ndarray:
        """(B,) image scores of a head; of an image in tiles the highest."""
        tiles = [tile for shown in images for tile in shown[name]]
        panel, text = self.panel, self.texts[name]
        parts = []
        for start in range(0, len(tiles), panel.batch_size):
            batch = Features.cat(tiles[start : start + panel.batch_size])
            parts.append(panel.heads[name].score(batch.to(panel.backbone.device), text))
        scores = np.concatenate([part.numpy().image_score for part in parts])
        ends = np.cumsum([len(shown[name]) for shown in images])[:-1]
        return np.array([own.max() for own in np.split(scores, ends)])


def _tensors(features: Features) -> Iterator[torch.Tensor]:
    parts = (features.patches, features.windows, features.cls)
    yield from (x for part in parts for x in part.values())
    if features.image is not None:
        yield features.image
