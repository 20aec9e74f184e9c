"""Place drawn defects, and the irregular spot that most of them cover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlad.synthetic.noise import SIZE, grid, lumps, smoothstep

VISIBLE = 0.035


@dataclass
class Place:
    """The place of a defect.

    Args:
        cover: coverage (n, n) of the object (ones for a texture).
        ground: image (n, n, 3) of what shows where the object is missing.
        other: a foreign image (n, n, 3) to borrow texture from.
        centre: x, y in pixels, a point on the object.
        size: radius in pixels.
    """

    cover: np.ndarray
    ground: np.ndarray
    other: np.ndarray
    centre: np.ndarray
    size: float


def spot(rng, place, rough=0.35, soft=1.2, stretch=None):
    """Coverage of an irregular spot at the place, (n, n); ``soft`` is its edge in pixels."""
    y, x = grid()
    cx, cy = place.centre / SIZE * 2 - 1
    angle = rng.uniform(0, np.pi)
    stretch = rng.uniform(1, 2) if stretch is None else stretch
    u = ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)) * np.sqrt(stretch)
    v = ((y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)) / np.sqrt(stretch)
    radius = place.size / SIZE * 2
    field = np.hypot(u, v) / radius + rough * lumps(rng, int(np.clip(2 / radius, 3, 40)))
    return smoothstep((1 - field) * place.size, -soft, soft)
