"""Sizes: maps and images brought to another one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image


def resize_map(anomaly_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map at (width, height), bilinear -> float32."""
    image = Image.fromarray(np.asarray(anomaly_map, np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def strips(height: int) -> Iterator[slice]:
    """Rows of a map in groups, so that what is computed from it takes little memory at a time."""
    return (slice(start, start + 256) for start in range(0, height, 256))


def fit_within(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(width, height) made smaller in proportion until neither is longer than `side`."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
