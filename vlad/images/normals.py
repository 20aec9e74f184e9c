"""Views of normal images, for heads to learn from."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Iterator
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


@dataclass(frozen=True)
class Altered:
    """22 views of an image: itself, turned, shifted, mirrored, grey (`vlad.images.views.altered`).

    What leaves the image is mirrored at its outer edge.
    """

    def __call__(self, image: Image.Image) -> Iterator[Image.Image]:
        import numpy as np  # and torch, slow to import
        import torch
        from PIL import Image

        from vlad.images.views import altered

        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
        for view in altered(pixels, align_corners=False):
            yield Image.fromarray(view[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy())


ITSELF = Rotations()
