"""Views of normal images, for heads to learn from."""

from __future__ import annotations

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


ITSELF = Rotations()
