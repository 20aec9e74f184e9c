"""Boxes of a detector on the pixels of an image: what they cover, and where the surest one is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vlad.types import Box

# first and last pixel of the columns (and rows) of cells of an image of this many pixels, in FiLo
CELLS = ((0, 172), (173, 344), (345, 517))
CELLS_SIDE = 518


def covered(boxes: Sequence[Box], size: tuple[int, int]) -> torch.Tensor:
    """(H, W) bool: the pixels within any of the boxes, whose edges are cut to whole pixels."""
    mask = torch.zeros(size, dtype=torch.bool)
    for box in boxes:
        left, top, right, bottom = _edges(box, size).astype(int)
        mask[top:bottom, left:right] = True
    return mask


def cell(boxes: Sequence[Box], size: tuple[int, int]) -> int | None:
    """The cell, of 3×3 row by row, in which the centre of the surest box lies.

    Without boxes it is that of the image's centre. Cells leave gaps of one pixel of 518 between
    them; None is a centre in such a gap.
    """
    height, width = size
    x, y = width / 2, height / 2
    # of equally sure ones the last
    if best := max(reversed(boxes), key=lambda box: box.score, default=None):
        left, top, right, bottom = _edges(best, size)
        x, y = (left + right) / 2, (top + bottom) / 2
    column, row = _part(x, width), _part(y, height)
    return None if column is None or row is None else 3 * row + column


def _edges(box: Box, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    return np.array(box.edges, np.float32) * np.array([width, height, width, height], np.float32)


def _part(at: float, side: int) -> int | None:
    scale = side / CELLS_SIDE
    inside = (i for i, (low, high) in enumerate(CELLS) if low * scale <= at <= high * scale)
    return next(inside, None)
