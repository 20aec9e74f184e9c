"""What a file says of its samples that Pillow leaves to its users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

_EXIF_ORIENTATION = 0x0112
_BITS, _PHOTOMETRIC, _MAX_SAMPLE, _SAMPLE_FORMAT = 258, 262, 281, 339  # tags of a TIFF
_SIGNED = 2
_RANGES = {2**bits - 1: bits for bits in range(9, 16)}  # others may be of this image alone
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Grey:
    """Grey samples of more than 8 bits, or with a sign.

    Attributes:
        samples: (H, W), as stored.
        bits: how many are significant, where the file says so.
        inverted: whether white is zero.
    """

    samples: np.ndarray
    bits: int | None
    inverted: bool


def grey_samples(image: Image.Image) -> Grey | None:
    """The samples of a decoded image that Pillow does not give as plain 8 bits; else None."""
    tags = getattr(image, "tag_v2", {})
    if image.mode == "L" and tags.get(_SAMPLE_FORMAT) == (_SIGNED,):
        return Grey(np.asarray(image).view(np.int8).astype(np.int16), 8, False)
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return Grey(np.asarray(image), stated_bits(image), tags.get(_PHOTOMETRIC) == 0)
    return None


def stated_bits(image: Image.Image) -> int | None:
    """Significant bits, under 16, that a TIFF states of its samples; else None."""
    tags = getattr(image, "tag_v2", {})
    return 12 if tags.get(_BITS) == (12,) else _RANGES.get(max(tags.get(_MAX_SAMPLE) or (0,)))


def turn_upright(image: Image.Image) -> Image.Transpose | None:
    """The turn by which the image becomes what its metadata say is to be shown, if any."""
    try:
        return _UPRIGHT.get(int(image.getexif().get(_EXIF_ORIENTATION, 1)))
    except Exception:  # unreadable metadata do not spoil the pixels
        return None
