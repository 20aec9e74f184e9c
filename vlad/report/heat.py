"""Anomaly maps as heat over the image, on one scale for all images of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from vlad.images.resize import strips

# Oklab lightness, chroma and hue (degrees) from weak to strong: lightness falls all the way, so
# the order survives in grey and for the colour-blind, and the strong end shows on white as on black
_STOPS = ((0.94, 0.14, 108), (0.86, 0.17, 88), (0.76, 0.19, 58), (0.66, 0.24, 29), (0.56, 0.25, 6))
_OPACITY = 0.7
_BINS = 65536


def shared_scale(
    maps: Iterable[np.ndarray],
    value_range: tuple[float, float],
    quantiles: tuple[float, float] = (0.5, 0.999),
    threshold: float | None = None,
) -> tuple[float, float]:
    """The values at which the heat of all images of a run starts and saturates.

    They are quantiles of all pixels, from a histogram of 65536 bins over `value_range`; so memory
    is constant, the order of the maps does not matter, and low < high always.

    Args:
        maps: (H, W) each, or (N,) values of one.
        value_range: the range in which the head's maps are stored, or their `bounds`.
        threshold: heat is full no lower than here, so that nothing below it looks anomalous.
    """
    bottom, top = value_range
    counts = np.zeros(_BINS, np.int64)
    for values in (m[rows] for m in maps for rows in strips(len(m))):
        levels = np.rint((values.astype(np.float64) - bottom) / (top - bottom) * (_BINS - 1))
        counts += np.bincount(np.clip(levels, 0, _BINS - 1).astype(int).ravel(), minlength=_BINS)
    if not counts.any():
        return bottom, top
    below = np.cumsum(counts)
    first, last = (int(np.searchsorted(below, q * below[-1])) for q in quantiles)
    step = (top - bottom) / (_BINS - 1)
    low, high = bottom + first * step, bottom + max(last, first + 1) * step
    return low, max(high, threshold) if threshold is not None and np.isfinite(threshold) else high


def bounds(maps: Sequence[np.ndarray]) -> tuple[float, float]:
    """The lowest and the highest value of all maps, kept apart even if they are equal."""
    low, high = min(one.min() for one in maps), max(one.max() for one in maps)
    return float(low), float(high) if high > low else float(low) + 1.0


def overlay(image: Image.Image, anomaly_map: np.ndarray, low: float, high: float) -> Image.Image:
    """The image at the size of the map, under heat that is clear at `low` and full at `high`.

    Args:
        image: the image, upright.
        anomaly_map: (H, W).
        low, high: from `shared_scale`.
    """
    size = anomaly_map.shape[1], anomaly_map.shape[0]
    drawn = np.array(image.convert("RGB").resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))
    colours, opacity = heat_table()
    for rows in strips(len(drawn)):
        strength = np.clip((anomaly_map[rows].astype(np.float32) - low) / (high - low), 0, 1)
        levels = np.rint(strength * 255).astype(np.uint8)
        alpha = opacity[levels][..., None]
        drawn[rows] = np.rint(drawn[rows] * (1 - alpha) + colours[levels] * alpha)
    return Image.fromarray(drawn)


def heat_table() -> tuple[np.ndarray, np.ndarray]:
    """The heat scale -> (256, 3) uint8 colours and (256,) float32 opacities."""
    t = np.linspace(0, 1, 256)
    stops = np.array(_STOPS)
    hues = np.degrees(np.unwrap(np.radians(stops[:, 2])))
    lightness, chroma, hue = (
        np.interp(t, np.linspace(0, 1, len(stops)), column)
        for column in (stops[:, 0], stops[:, 1], hues)
    )
    a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
    # the published Oklab -> linear sRGB matrices: https://bottosson.github.io/posts/oklab
    cone = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_rgb = [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
    linear = np.clip(np.array(to_rgb) @ cone**3, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    ease = t * t * (3 - 2 * t)
    return np.rint(srgb.T * 255).astype(np.uint8), (_OPACITY * ease).astype(np.float32)
