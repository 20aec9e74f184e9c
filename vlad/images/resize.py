"""Resize images and maps, and compute sizes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image


def resize_map(anomaly_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a map to (width, height), bilinear -> float32."""
    image = Image.fromarray(np.asarray(anomaly_map, np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def strips(height: int) -> Iterator[slice]:
    """Rows of a map in groups, to compute on it with little memory."""
    return (slice(start, start + 256) for start in range(0, height, 256))


def fit_within(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(width, height) scaled down in proportion until neither exceeds `side`."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def own_pixels(image: Image.Image, longest: int) -> np.ndarray:
    """An RGB image in its own proportions as (3, h, w) float32 from 0 to 1.

    Args:
        longest: pixels of its longer side at most; a smaller image stays as it is.
    """
    size = fit_within(image.size, longest)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C") / 255
