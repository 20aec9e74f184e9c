"""The region of interest: the part of every image in which defects count."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlad.errors import ImageError, InputError
from vlad.images.decode import DEFAULT_MAX_PIXELS
from vlad.images.masks import read_mask
from vlad.images.polygons import fill, is_simple
from vlad.system.resources import read_json
from vlad.system.text import shown

_ASPECT = 0.01  # how far the proportions of an image may be from those of the region
_CORNERS = 1000  # of a polygon; every pair of its edges is compared
_SHAPES = ("polygon", "box")
_FORMAT = '{"size": [width, height], "polygon": [[x, y], ...]} or with "box": [x, y, x, y]'


@dataclass(frozen=True)
class RegionOfInterest:
    """A part of an image, scaled to every image of the same proportions.

    Attributes:
        size: (width, height) of the image that it was drawn on.
        packed: its mask, row by row, 8 pixels a byte.
    """

    size: tuple[int, int]
    packed: bytes

    @classmethod
    def of(cls, mask: np.ndarray) -> RegionOfInterest:
        """The region that a mask (H, W) is non-zero in.

        Raises:
            InputError: that is no pixel.
        """
        if not np.any(mask):
            raise InputError(
                "`mask` is empty, so nothing is inside the region; set at least one pixel."
            )
        return cls(mask.shape[::-1], np.packbits(np.asarray(mask, bool)).tobytes())

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool, True inside."""
        width, height = self.size
        bits = np.unpackbits(np.frombuffer(self.packed, np.uint8), count=width * height)
        return bits.reshape(height, width).astype(bool)

    @cached_property
    def digest(self) -> str:
        """Tells regions apart, however they were given."""
        content = f"{self.size[0]} {self.size[1]} ".encode() + self.packed
        return hashlib.sha256(content).hexdigest()[:16]

    def at(self, shape: tuple[int, ...]) -> np.ndarray:
        """The region on a map of (H, W) -> (H, W) bool, read-only, at least one pixel True.

        A pixel of the map is inside if more than half of it is, or, where that is none, if as much
        of it is as of any.
        """
        return _scaled(self, (shape[0], shape[1]))

    def check(self, name: object, size: tuple[int, int]) -> None:
        """Raise an ImageError if an image of (width, height) has other proportions.

        Args:
            name: of the image.
        """
        (w, h), (width, height) = size, self.size
        if abs(w * height / (h * width) - 1) > _ASPECT:
            raise ImageError(
                f"{name} has {w}×{h} pixels, other proportions than the region of interest, which "
                f"was drawn on {width}×{height}; remove the image, or draw another region."
            )

    @property
    def png(self) -> bytes:
        """The mask as a PNG file, which `read_region` reads as the same region."""
        file = io.BytesIO()
        Image.fromarray(self.mask).save(file, "PNG")
        return file.getvalue()


Interest = str | os.PathLike[str] | RegionOfInterest  # a file, or what was read from one


@lru_cache(maxsize=4)  # images of a run have few sizes
def _scaled(region: RegionOfInterest, shape: tuple[int, int]) -> np.ndarray:
    cover = _resized(region.mask, shape)
    inside = cover > 0.5
    inside = inside if inside.any() else cover == cover.max()
    inside.flags.writeable = False
    return inside


def _resized(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """How much of each pixel of (H, W) a mask covers."""
    image = Image.fromarray(mask.astype(np.float32))
    return np.array(image.resize(shape[::-1], Image.Resampling.BOX))


def region_of(
    roi: Interest | None, ignore: Interest | None, max_pixels: int = DEFAULT_MAX_PIXELS
) -> RegionOfInterest | None:
    """The part of images inside `roi` and outside `ignore`; None without either.

    Args:
        roi, ignore: as `read_region`; None is the whole image, and nothing of it.

    Raises:
        InputError: as `read_region`, the two have other proportions, or nothing is left.
    """
    if roi is None and ignore is None:
        return None
    wanted = None if roi is None else read_region(roi, max_pixels)
    if ignore is None:
        return wanted
    ignored = read_region(ignore, max_pixels)
    if wanted is None:
        inside = ~ignored.mask
    else:
        ignored.check(f"the region of interest {_name(roi)}", wanted.size)
        inside = wanted.mask & (_resized(ignored.mask, wanted.size[::-1]) == 0)
    if not inside.any():
        raise InputError(f"{_name(ignore)} leaves nothing of the region of interest; shrink it.")
    return RegionOfInterest.of(inside)


def read_region(file: Interest, max_pixels: int = DEFAULT_MAX_PIXELS) -> RegionOfInterest:
    """Read a region of interest.

    Args:
        file: a mask image (non-zero = inside), or a JSON file `{"size": [width, height],
            "polygon": [[x, y], ...]}` or `{"size": ..., "box": [x, y, x, y]}`, in pixels from the
            upper left corner; a region itself is returned.
        max_pixels: larger masks are refused.

    Raises:
        InputError: the file cannot be used, is empty, or has a polygon that crosses itself or
            leaves its image.
    """
    if isinstance(file, RegionOfInterest):
        return file
    path = Path(file)
    if path.suffix.lower() == ".json":
        mask = _drawn(path, max_pixels)
    else:
        mask = read_mask(path, max_pixels=max_pixels)
    if not mask.any():
        raise InputError(
            f"{_name(file)} has no pixel inside the region of interest; set at least one."
        )
    return RegionOfInterest.of(mask)


def _name(file: Interest | None) -> str:
    return "the region" if isinstance(file, RegionOfInterest) else shown(str(file))


def _drawn(path: Path, max_pixels: int) -> np.ndarray:
    """The mask of a JSON file."""
    try:
        found = read_json(path)
        size, corners = _read(found)
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"cannot use {shown(str(path))} as a region of interest ({shown(error)}); write it as "
            f"{_FORMAT}."
        ) from error
    width, height = size
    if width * height > max_pixels:
        raise InputError(
            f"{shown(str(path))} is drawn on {width}×{height} pixels, more than {max_pixels:,}; "
            "raise `max_pixels`, or draw on a smaller image."
        )
    outside = (corners < 0) | (corners > size)
    if outside.any():
        x, y = corners[outside.any(1)][0].tolist()
        raise InputError(
            f"the region of interest in {shown(str(path))} is larger than its image of "
            f"{width}×{height} pixels, with a corner at ({x:g}, {y:g}); correct it or `size`."
        )
    if not is_simple(corners):
        raise InputError(
            f"the polygon in {shown(str(path))} crosses or touches itself; list its corners in "
            "order around the region."
        )
    return fill(corners, size)


def _read(found: Any) -> tuple[tuple[int, int], np.ndarray]:
    """(width, height) and corners (N, 2); raises a ValueError or TypeError."""
    if not isinstance(found, dict):
        raise ValueError("it is not an object")
    given = [name for name in _SHAPES if name in found]
    if len(given) != 1 or found.keys() != {"size", given[0]}:
        raise ValueError("it needs `size`, one of `polygon` and `box`, and nothing else")
    size = found["size"]
    if not (
        isinstance(size, list)
        and len(size) == 2
        and all(type(side) is int and 0 < side < 2**31 for side in size)
    ):
        raise ValueError("`size` is not two whole numbers")
    corners = np.asarray(found[given[0]], float)
    if given[0] == "box":
        if corners.shape != (4,) or not (corners[:2] < corners[2:]).all():
            raise ValueError("`box` is not left, top, right, bottom")
        left, top, right, bottom = corners
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all():
        raise ValueError("`polygon` is not a list of corners")
    if len(corners) > 1 and (corners[0] == corners[-1]).all():
        corners = corners[:-1]  # some programs repeat the first corner
    if not 3 <= len(corners) <= _CORNERS:
        raise ValueError(f"`polygon` has {len(corners)} corners, and it may have 3 to {_CORNERS}")
    return (size[0], size[1]), corners
