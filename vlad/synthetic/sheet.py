"""A contact sheet of synthetic defects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

_SIDE, _GAP, _TITLE = 192, 6, 20
_COLUMNS = 6
_OUTLINE = (255, 0, 80)


def contact_sheet(rows: Mapping[str, Sequence[tuple[Image.Image, np.ndarray]]]) -> Image.Image:
    """Up to six images per generator, each above a copy with its mask outlined.

    Args:
        rows: generator -> pairs of an RGB image and its mask (H, W) bool.
    """
    cell = _SIDE + _GAP
    columns = min(_COLUMNS, max(map(len, rows.values())))
    height = _TITLE + 2 * cell
    sheet = Image.new("RGB", (columns * cell + _GAP, len(rows) * height + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, (name, items) in enumerate(rows.items()):
        top = row * height + _GAP
        draw.text((_GAP, top), name, "black", font)
        for column, (image, mask) in enumerate(items[:columns]):
            for line, drawn in enumerate(_pair(image, mask)):
                place = (_GAP + column * cell, top + _TITLE + line * cell)
                sheet.paste(drawn, place)
    return sheet


def _pair(image: Image.Image, mask: np.ndarray) -> tuple[Image.Image, Image.Image]:
    scale = _SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.BICUBIC)
    # a thin defect must not vanish when the mask shrinks
    share = Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BOX)
    inside = ndimage.binary_dilation(np.asarray(share) > 0.1)
    outline = ndimage.binary_dilation(inside) & ~inside
    marked = np.asarray(small).copy()
    marked[outline] = _OUTLINE
    return small, Image.fromarray(marked)
