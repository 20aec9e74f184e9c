"""Stains left by a drop of oil, rust, ink or hard water."""

from __future__ import annotations

import colorsys

import numpy as np

from vlad.synthetic.canvas import Defect, Scene, Sources, paint
from vlad.synthetic.noise import mix

# hue, saturation, value of the factor on the light, each (low, high)
_DARK = (
    ((0.06, 0.12), (0.3, 0.6), (0.3, 0.7)),  # oil, coffee
    ((0.03, 0.08), (0.5, 0.8), (0.4, 0.75)),  # rust
    ((0.55, 0.7), (0.2, 0.7), (0.15, 0.5)),  # ink
    ((0.0, 1.0), (0.0, 0.1), (0.45, 0.8)),  # water, grease
)
# and of the cover on a dark surface: lime, dust, dried milk, flash rust
_LIGHT = (
    ((0.08, 0.16), (0.0, 0.2), (0.55, 0.9)),
    ((0.04, 0.1), (0.3, 0.6), (0.4, 0.65)),
)


def stain(image: np.ndarray, sources: Sources, rng: np.random.Generator) -> Defect:
    """An irregular spot with or without a rim, and a few drops beside it."""

    def change(scene: Scene, rng: np.random.Generator) -> np.ndarray:
        centre = scene.point(rng)
        radius = scene.extent * np.exp(rng.uniform(np.log(0.04), np.log(0.2)))
        area = _area(scene, rng, centre, radius)
        grain = np.clip(1 + rng.uniform(0.05, 0.3) * scene.grain(rng, 1.0), 0, 2)
        weight = np.clip(area * grain, 0, 1) * scene.soft_cover
        rim = 4 * area * (1 - area) * scene.soft_cover * np.float32(rng.choice([0, 0.35]))
        if scene.around(centre, radius).mean() < 0.22:
            deposit = _colour(rng, _LIGHT)
            weight = np.clip(weight + rim, 0, 1) * np.float32(rng.uniform(0.25, 0.75))
            return mix(scene.rgb, deposit, weight)
        tinted = mix(scene.rgb, scene.rgb * _colour(rng, _DARK), weight * rng.uniform(0.6, 1))
        return tinted * (1 - rim)[..., None]

    return paint(image, rng, change, "a stain")


def _area(scene: Scene, rng: np.random.Generator, centre: np.ndarray, radius: float) -> np.ndarray:
    """Coverage (H, W) of the spot and its drops."""
    soft = scene.stroke * rng.uniform(0.8, 3)
    area = scene.spot(rng, centre, radius, rng.uniform(0.1, 0.35), soft)
    for _ in range(rng.choice([0, 0, 1, 3, 5])):
        turn, reach = rng.uniform(0, 2 * np.pi), radius * rng.uniform(1.3, 2.5)
        drop = centre + reach * np.array([np.cos(turn), np.sin(turn)])
        small = max(1.0, radius * rng.uniform(0.05, 0.25))
        area = np.maximum(area, scene.spot(rng, drop, small, 0.1, min(soft, small)))
    return area


def _colour(rng: np.random.Generator, kinds) -> np.ndarray:
    kind = kinds[rng.integers(len(kinds))]
    return np.array(colorsys.hsv_to_rgb(*(rng.uniform(*limits) for limits in kind)), np.float32)
