"""How a frame differs from the one before, as an image."""

from __future__ import annotations

import numpy as np
from PIL import Image

SAME = 128  # grey value of what did not change


def change_of(now: Image.Image, before: Image.Image) -> Image.Image:
    """Grey where nothing changed, brighter or darker by half of the change of each channel.

    Args:
        now, before: RGB; `before` is brought to the size of `now`.
    """
    if before.size != now.size:
        before = before.resize(now.size)
    apart = np.asarray(now, np.int16) - np.asarray(before, np.int16)
    return Image.fromarray((SAME + apart // 2).astype(np.uint8))
