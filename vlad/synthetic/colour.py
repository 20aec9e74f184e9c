"""Colour shifts: part of the surface or the whole object has another hue or brightness."""

from __future__ import annotations

import numpy as np

from vlad.synthetic.canvas import Defect, Scene, Sources, grey, paint
from vlad.synthetic.noise import mix

_WHOLE = 0.2  # how often the whole object changes colour


def colour(image: np.ndarray, sources: Sources, rng: np.random.Generator) -> Defect:
    """A large spot with a soft edge that differs in brightness, hue or both."""

    def change(scene: Scene, rng: np.random.Generator) -> np.ndarray:
        if scene.isolated and rng.random() < _WHOLE:
            area = scene.soft_cover
        else:
            radius = scene.extent * rng.uniform(0.08, 0.3)
            spot = scene.spot(rng, scene.point(rng), radius, 0.25, radius * rng.uniform(0.15, 0.6))
            area = spot * scene.soft_cover
        return mix(scene.rgb, _shifted(scene, rng), area)

    return paint(image, rng, change, "a discoloured area")


def _shifted(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The image with rotated hue, then tinted and made lighter or darker."""
    lightness = grey(scene.rgb)[..., None]
    angle = rng.choice([0.0, rng.uniform(-0.35, 0.35)])
    # a rotation about the grey axis: the part along (1, 1, 1) stays
    chroma = scene.rgb - lightness
    crossed = (np.roll(chroma, 1, 2) - np.roll(chroma, -1, 2)) / np.sqrt(3)
    turned = chroma * np.float32(np.cos(angle)) + crossed * np.float32(np.sin(angle))
    level = float(scene.rgb[scene.cover].mean())
    tint = rng.normal(0, 1, 3)
    tint -= tint.mean()
    tint *= rng.uniform(0.02, 0.1) * (0.3 + 0.7 * level) / (np.abs(tint).max() + 1e-6)
    # dark surfaces are mostly lightened and light ones darkened: the opposite is barely visible
    lighter = rng.random() > level
    gain = 1 + rng.uniform(0.1, 0.4) if lighter else 1 - rng.uniform(0.1, 0.4)
    lift = rng.uniform(0, 0.08) if lighter else 0.0
    return (lightness + turned) * np.float32(gain) + (tint + lift).astype(np.float32)
