"""Views of normal images, for heads to learn from."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

# of an RGB image; heads whose views are equal share passes
Views = Callable[["Image.Image"], Iterable["Image.Image"]]


@dataclass(frozen=True)
class Rotations:
    """`count` views of an image, rotated by multiples of 360°/count; the first is itself."""

    count: int = 1

    def __call__(self, image: Image.Image) -> Iterator[Image.Image]:
        from vlad.images.views import rotate  # brings in torch

        yield image
        for n in range(1, self.count):
            yield rotate(image, 360 * n / self.count)


@dataclass(frozen=True)
class RandomRotations:
    """An image, and `count` views rotated by angles between 0° and 345°, the corners black.

    The angles are drawn from the seed and the pixels, so that neither the order nor the company of
    images changes them.
    """

    count: int
    seed: int

    def __call__(self, image: Image.Image) -> Iterator[Image.Image]:
        yield image
        for angle in self.angles(image):
            yield image.rotate(angle)

    def angles(self, image: Image.Image) -> list[float]:
        """The degrees, counter-clockwise."""
        draw = random.Random(f"{self.seed} {zlib.crc32(image.tobytes())}")
        return [draw.uniform(0, 345) for _ in range(self.count)]


def horizontal_flip(image: Image.Image) -> Image.Image:
    """Left and right exchanged."""
    from PIL import ImageOps

    return ImageOps.mirror(image)


def vertical_flip(image: Image.Image) -> Image.Image:
    """Top and bottom exchanged."""
    from PIL import ImageOps

    return ImageOps.flip(image)


def colour_jitter(image: Image.Image) -> Image.Image:
    """Brightness, contrast and saturation each changed by up to 10 %, drawn from the pixels."""
    from PIL import ImageEnhance

    draw = random.Random(zlib.crc32(image.tobytes()))
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(draw.uniform(1 - JITTER, 1 + JITTER))
    return image


JITTER = 0.1
CHANGES = {x.__name__: x for x in (horizontal_flip, vertical_flip, colour_jitter)}


@dataclass(frozen=True)
class Changed:
    """The rotations of an image, then the image under each of some of the `CHANGES`."""

    rotations: Rotations
    changes: tuple[str, ...]

    def __call__(self, image: Image.Image) -> Iterator[Image.Image]:
        yield from self.rotations(image)
        for name in self.changes:
            yield CHANGES[name](image)


def views_of(rotations: int, changes: Sequence[str]) -> Rotations | Changed:
    """A number of rotations and some of the `CHANGES`, each once."""
    turned = Rotations(rotations)
    return Changed(turned, tuple(dict.fromkeys(changes))) if changes else turned


ITSELF = Rotations()
