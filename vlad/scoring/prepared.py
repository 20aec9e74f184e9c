"""Images as the backbone of a panel takes them, whole or in tiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from PIL import Image

from vlad.images.tiles import Box
from vlad.scoring.panel import Panel


@dataclass(frozen=True, eq=False)
class Cut:
    """The tiles of a large image, each prepared when it is needed: all at once would take many
    times the memory of the image."""

    panel: Panel
    image: Image.Image

    @property
    def boxes(self) -> list[Box]:
        return self.panel.tiling.boxes(self.image.size)

    def at(self, box: Box) -> dict:
        return self.panel.prepare(self.image.crop(box))

    def __iter__(self) -> Iterator[dict]:
        return map(self.at, self.boxes)


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as the backbone of a panel takes it.

    Attributes:
        size: (width, height), upright.
        tiles: the pixels of each tile; a whole image is one tile.
    """

    size: tuple[int, int]
    tiles: Iterable[dict]


def prepare(panel: Panel, image: Image.Image, name: object = "the image") -> Prepared:
    """An RGB image as `score_items` takes it; safe to call from several threads.

    Args:
        name: of the image in an error.

    Raises:
        ImageError: it has other proportions than the region of interest.
    """
    if panel.inside.region:
        panel.inside.region.check(name, image.size)
    whole = len(panel.tiling.boxes(image.size)) == 1
    return Prepared(image.size, [panel.prepare(image)] if whole else Cut(panel, image))
