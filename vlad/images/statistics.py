"""Colour, edges and texture of an image in numbers, without a network."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE, CELL = 256, 16  # pixels a side of the image and of a cell
WEIGHT = 4.0  # of colours in [0, 1], whose differences are small beside those of log energies
LEAST = 0.01  # added to energies, so that noise in flat cells has a small logarithm

# of each statistic: the name of more of it, and of less of it if that is more of something else
NAMES = (
    ("brightness", ""),
    ("red", "green"),
    ("yellow", "blue"),
    ("spread of brightness", ""),
    ("spread of red to green", ""),
    ("spread of yellow to blue", ""),
    ("vertical edges", ""),
    ("rising edges", ""),
    ("horizontal edges", ""),
    ("falling edges", ""),
    ("finest texture", ""),
    ("fine texture", ""),
)


def cells(image: Image.Image) -> np.ndarray:
    """Statistics of the cells of an RGB image, squashed to 256×256 pixels.

    Means of brightness and two opponent colours (red − green, yellow − blue), and logarithms of
    energies: their spread, edges in four directions, texture finer than 2 and than 4 pixels.

    Returns:
        (16, 16, 12) float32.
    """
    small = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    r, g, b = np.moveaxis(np.asarray(small, np.float32) / 255, -1, 0)
    grey = (r + g + b) / 3
    colours = np.stack([grey, r - g, (r + g) / 2 - b])
    means = _means(colours)
    spread = np.sqrt(np.maximum(_means(colours**2) - means**2, 0))
    dy, dx = np.gradient(grey)
    length, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    # an edge has no sign, so its angle repeats after 180°
    edges = [length * np.maximum(np.cos(2 * angle - n * np.pi / 2), 0) for n in range(4)]
    texture = [np.abs(grey - _blocks(grey, side)) for side in (2, 4)]
    energies = np.concatenate([spread, _means(np.stack(edges)), _means(np.stack(texture))])
    return np.moveaxis(np.concatenate([WEIGHT * means, np.log(energies + LEAST)]), 0, -1)


def summary(cells: np.ndarray) -> np.ndarray:
    """(h, w, F) -> (5·F,): mean, spread, and percentiles 5, 50 and 95 of each over the cells."""
    rows = cells.reshape(-1, cells.shape[-1])
    percentiles = np.percentile(rows, [5, 50, 95], axis=0).astype(rows.dtype)
    return np.concatenate([rows.mean(axis=0), rows.std(axis=0), *percentiles])


def _means(x: np.ndarray) -> np.ndarray:
    """(F, H, W) -> (F, h, w) means of the cells."""
    count, height, width = x.shape
    return x.reshape(count, height // CELL, CELL, width // CELL, CELL).mean(axis=(2, 4))


def _blocks(x: np.ndarray, side: int) -> np.ndarray:
    """(H, W) with each block of side × side pixels replaced by its mean."""
    height, width = x.shape
    means = x.reshape(height // side, side, width // side, side).mean(axis=(1, 3))
    return means.repeat(side, axis=0).repeat(side, axis=1)
