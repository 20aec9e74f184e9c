"""One frame of a video, converted to an image only if it is used."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from vlad.errors import ImageError
from vlad.images.decode import check_size

SMALL = 64  # pixels a side of what frames are compared by
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        decoded: the frame as PyAV decoded it; None if it is an image file.
        number: its place in the source, from 0; of a live one since it was first opened.
        seconds: its position, from the first frame.
        time: when it was captured, in ns since 1970.
    """

    decoded: Any
    number: int
    seconds: float
    time: int
    # what converts a frame belongs to it, and two threads in it wait for each other forever
    _one: Lock = field(default_factory=Lock, init=False, repr=False)

    def image(self, max_pixels: int, name: str) -> Image.Image:
        """Its upright 8-bit RGB image.

        Args:
            name: of the frame in an error.

        Raises:
            ImageError: more pixels than `max_pixels`, or a side under 8.
        """
        where, size = f"cannot use {name}", (self.decoded.width, self.decoded.height)
        check_size(size, where)
        if size[0] * size[1] > max_pixels:
            raise ImageError(
                f"{where}: its {size[0]}×{size[1]} pixels are over the limit of {max_pixels:,}; "
                "shrink it, or raise the limit (max_pixels)."
            )
        # PyAV before 17 uses the frame's own colour matrix only if the target names another, and
        # takes grey of 16 bits for limited range
        grey = self.decoded.format.name.startswith("gray")
        with self._one:
            rgb = self.decoded.reformat(
                format="rgb24", dst_colorspace="ITU601", src_color_range="JPEG" if grey else None
            )
        image = Image.fromarray(rgb.to_ndarray())
        turn = _TURNS.get(round(self.decoded.rotation) % 360)
        return image if turn is None else image.transpose(turn)

    def small(self) -> np.ndarray:
        """Its brightness in SMALL×SMALL cells, 0 to 255, (SMALL, SMALL) float32."""
        with self._one:
            grey = self.decoded.reformat(SMALL, SMALL, "gray", interpolation="AREA")
        return grey.to_ndarray().astype(np.float32)
