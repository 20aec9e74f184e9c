"""Sheets of images and their anomaly maps, for notebooks."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlad.errors import InputError
from vlad.images import ImageLike, as_image
from vlad.images.resize import resize_map
from vlad.report.heat import bounds, overlay, shared_scale

_GAP = 4  # pixels between images
_LINE = 20  # height of a line of text
_FONT = 13
_LABEL = 104  # width of the names at the left
_QUALITY = 82  # of the JPEG


class Sheet:
    """A drawn sheet. Notebooks show it as JPEG to keep their files small.

    Attributes:
        image: the RGB image.
    """

    def __init__(self, image: Image.Image):
        self.image = image

    def _repr_jpeg_(self) -> bytes:
        buffer = io.BytesIO()
        self.image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
        return buffer.getvalue()

    def __repr__(self) -> str:
        return f"Sheet({self.image.width}×{self.image.height})"


def sheet(
    images: Sequence[ImageLike],
    maps: Mapping[str, np.ndarray] | None = None,
    titles: Sequence[str] | None = None,
    *,
    side: int = 150,
) -> Sheet:
    """N images in a row and, in a row per name in `maps`, their maps as heat over them.

    The heat of a row has one scale (`shared_scale`), so images in it are comparable; rows are not,
    since heads have different units.

    Args:
        images: images that `vlad.images.as_image` accepts.
        maps: name of the row -> N maps (H, W), or masks.
        titles: N texts above the images.
        side: width and height of each image in pixels.

    Raises:
        InputError: no image, or different numbers of images, maps or titles.
    """
    maps = maps or {}
    for name, found in {**maps, "titles": titles if titles is not None else images}.items():
        if len(found) != len(images) or not len(images):
            raise InputError(
                f"a sheet of {len(images)} images got {len(found)} {name}; give as many, and at "
                "least one."
            )
    left = _LABEL if maps else 0
    top = _LINE if titles else 0
    step = side + _GAP
    drawn = Image.new("RGB", (left + step * len(images), top + step * (1 + len(maps))), "white")
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(_FONT)
    small = [
        as_image(p).resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0) for p in images
    ]
    for column, title in enumerate(titles or ()):
        pen.text((left + step * column + 2, 2), title, "black", font)
    for column, image in enumerate(small):
        drawn.paste(image, (left + step * column, top))
    for row, (name, found) in enumerate(maps.items(), start=1):
        pen.text((2, top + step * row + side // 2 - _FONT), name, "black", font)
        values = [np.asarray(one, np.float32) for one in found]
        scale = shared_scale(values, bounds(values))
        for column, (image, one) in enumerate(zip(small, values, strict=True)):
            heat = overlay(image, resize_map(one, (side, side)), *scale)
            drawn.paste(heat, (left + step * column, top + step * row))
    return Sheet(drawn)
