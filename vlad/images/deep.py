"""Colour of more than 8 bits, of which Pillow keeps the high bytes: whether, and the low ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, BinaryIO

_BITS, _PLANAR = 258, 284  # tags of a TIFF; planar 2 is a plane for each colour
_JPEG2000 = b"\xff\x4f\xff\x51"  # begins what describes the samples
_DEPTH = 42  # bytes from there to the depth of the first sample


def is_deep(image: Any, file: BinaryIO) -> bool:
    """Whether a file that is open, and not decoded, has more than 8 bits a sample."""
    if image.format != "JPEG2000":
        return any(";16" in str(tile) for tile in image.tile) or _has_deep_planes(image)
    place = file.tell()
    file.seek(0)
    _, found, header = file.read(2**20).partition(_JPEG2000)
    file.seek(place)
    # of the byte, the highest bit is the sign and the rest one less than the depth
    at = _DEPTH - len(found)
    return len(header) > at and header[at] & 127 > 7


def name_planes(image: Any) -> None:
    """Lets each plane of 16 bits be decoded as such: Pillow takes them for 8 bits."""
    if _has_deep_planes(image):
        order = ";16L" if image.tag_v2.prefix == b"II" else ";16B"
        _rename(image, lambda mode: mode + order)


def want_low_bytes(image: Any) -> str:
    """Lets PNG and TIFF of 16 bits a colour be decoded to the low bytes -> their channels."""
    grey = any(tile[3] == "LA;16B" for tile in image.tile)
    native = "L" if sys.byteorder == "little" else "B"

    def other(mode: str) -> str:
        if mode == "LA;16B":  # its four bytes
            return "RGBA"
        order = native if mode[-1] == "N" else mode[-1]
        return mode[:-1].replace("a", "A") + ("B" if order == "L" else "L")

    _rename(image, other)
    return "GGG" if grey else "RGB"


def _has_deep_planes(image: Any) -> bool:
    tags = getattr(image, "tag_v2", {})
    planes = tags.get(_PLANAR) == 2 and any(tile[0] == "raw" for tile in image.tile)
    return planes and tags.get(_BITS, ())[:1] == (16,) and image.mode in ("RGB", "RGBA", "CMYK")


def _rename(image: Any, change: Callable[[str], str]) -> None:
    """Changes the raw mode in each part to be decoded; PNG has it alone, TIFF before others."""
    for i, tile in enumerate(image.tile):
        args = tile[3]
        args = change(args) if isinstance(args, str) else (change(args[0]), *args[1:])
        # a plain tuple before Pillow 11
        renamed = tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)
        image.tile[i] = renamed
