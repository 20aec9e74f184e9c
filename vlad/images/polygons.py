"""Polygons on a grid of pixels."""

from __future__ import annotations

import numpy as np


def fill(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centre is inside a polygon, by counting the edges to the left of it.

    Args:
        corners: (N, 2) of x and y, in pixels from the upper left corner of the grid.
        size: (width, height) of the grid.

    Returns:
        (height, width) bool.
    """
    width, height = size
    across, down = np.arange(width) + 0.5, np.arange(height) + 0.5
    inside = np.zeros((height, width), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        rows = np.flatnonzero((y0 <= down) != (y1 <= down))
        if len(rows):
            crossed = x0 + (down[rows] - y0) / (y1 - y0) * (x1 - x0)
            inside[rows] ^= across >= crossed[:, None]
    return inside


def is_simple(corners: np.ndarray) -> bool:
    """Whether no two edges of a polygon (N, 2) meet, save neighbours in their common corner."""
    starts, ends = corners, np.roll(corners, -1, axis=0)
    low, high = np.minimum(starts, ends), np.maximum(starts, ends)
    near = ((low[:, None] <= high) & (low <= high[:, None])).all(-1)
    split = _side(starts, ends, starts) * _side(starts, ends, ends) <= 0  # edge i parts edge j
    meet = near & split & split.T
    count = len(corners)
    apart = np.abs(np.arange(count)[:, None] - np.arange(count))
    return not meet[(apart > 1) & (apart < count - 1)].any()


def _side(starts: np.ndarray, ends: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, M) sign of the side of N edges on which M points lie."""
    along = (ends - starts)[:, None]
    to = points - starts[:, None]
    return np.sign(along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0])
