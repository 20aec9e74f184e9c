"""An image as tiles of the backbone's input, at the resolution that suits its size and shape.

This is the "anyres" of LLaVA-OneVision, with the limits of Anomaly-OV: a grid of at most 4 × 4
tiles is chosen, the image is scaled to fit it with its proportions kept, and black is added at both
ends of the side that it does not fill.
"""

from __future__ import annotations

import math

import numpy as np

from vlad.images.resize import fit_within

LONGEST = 1024  # pixels of the longer side above which no finer grid is chosen
GRID = 4  # most tiles along a side


def grid_of(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(columns, rows) of the tiles of an image of (width, height).

    The grid keeps the most pixels of the image, which is not enlarged for that count, and of those
    that keep as many it has the least area left over.

    Args:
        side: of a tile, in pixels.
    """
    width, height = fit_within(size, LONGEST)

    def rank(grid: tuple[int, int]) -> tuple[int, int]:
        columns, rows = grid[0] * side, grid[1] * side
        scale = min(columns / width, rows / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - columns * rows

    return max(((c, r) for c in range(1, GRID + 1) for r in range(1, GRID + 1)), key=rank)


def before_cut(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(width, height) to which an image is scaled before it is cut; one of them fills the grid."""
    (width, height), (columns, rows) = size, grid_of(size, side)
    full = columns * side, rows * side
    if full[0] * height < full[1] * width:
        return full[0], min(math.ceil(height * full[0] / width), full[1])
    return min(math.ceil(width * full[1] / height), full[0]), full[1]


def cut(
    pixels: np.ndarray, side: int, black: np.ndarray
) -> tuple[np.ndarray, tuple[int, int], tuple[tuple[int, int], tuple[int, int]]]:
    """Tiles of an image scaled by `before_cut`.

    Args:
        pixels: (3, h, w).
        side: of a tile, in pixels.
        black: (3,) what is added around the image.

    Returns:
        (n, 3, side, side) tiles row by row; (rows, columns); (top, bottom) and (left, right) of the
        image within the joined tiles.
    """
    height, width = pixels.shape[1:]
    rows, columns = math.ceil(height / side), math.ceil(width / side)
    top, left = (rows * side - height) // 2, (columns * side - width) // 2
    canvas = np.empty((3, rows * side, columns * side), np.float32)
    canvas[:] = black[:, None, None]
    canvas[:, top : top + height, left : left + width] = pixels
    tiles = canvas.reshape(3, rows, side, columns, side).transpose(1, 3, 0, 2, 4)
    inside = (top, top + height), (left, left + width)
    return tiles.reshape(-1, 3, side, side), (rows, columns), inside
