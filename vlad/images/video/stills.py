"""A folder of frames, each an image file, as a video."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vlad.errors import ImageError, InputError
from vlad.images import read_image
from vlad.images.decode import is_image_name
from vlad.images.video.frame import SMALL, Frame
from vlad.images.video.source import Video

_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, eq=False)
class Still(Frame):
    """A frame that is an image file; it is read only if it is used.

    Attributes:
        path: the file.
    """

    path: Path = Path()

    def image(self, max_pixels: int, name: str) -> Image.Image:
        """Its upright 8-bit RGB image.

        Raises:
            ImageError: it cannot be decoded, or is outside the limits.
        """
        return read_image(self.path, max_pixels=max_pixels)

    def small(self) -> np.ndarray:
        """Its brightness in SMALL×SMALL cells, 0 to 255, (SMALL, SMALL) float32; NaN of a file that
        cannot be read, which so differs from all others."""
        try:
            grey = read_image(self.path).convert("L")
        except ImageError:
            return np.full((SMALL, SMALL), np.nan, np.float32)
        return np.asarray(grey.resize((SMALL, SMALL), Image.Resampling.BOX), np.float32)


def read_stills(video: Video) -> Iterator[Still]:
    """The images of a folder, in the order of their names, numbers in them by value.

    `time` is the last change of the first file plus the position.

    Raises:
        InputError: there are none, or the folder cannot be listed.
    """
    folder, rate = Path(video.address), video.rate or 1.0
    try:
        names = [name for name in os.listdir(folder) if is_image_name(name)]
    except OSError as error:
        raise InputError(
            f"cannot list {video.name} ({error.strerror}); check the folder."
        ) from error
    if not names:
        raise InputError(f"{video.name} holds no images; give a folder of frames, or a video file.")
    names.sort(key=lambda name: (_by_number(name), name))
    began = os.stat(folder / names[0]).st_mtime_ns
    for number, name in enumerate(names):
        seconds = number / rate
        yield Still(None, number, seconds, began + round(seconds * 1e9), folder / name)


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(x), "") if x.isdecimal() else (-1, x) for x in _DIGITS.split(name) if x]
