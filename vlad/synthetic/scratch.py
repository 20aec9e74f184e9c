"""Scratches: long thin grooves, darker or lighter than the surface, with a lit edge."""

from __future__ import annotations

import numpy as np

from vlad.synthetic.canvas import Defect, Scene, Sources, paint
from vlad.synthetic.noise import lumps, mix, smoothstep, strokes, wander


def scratch(image: np.ndarray, sources: Sources, rng: np.random.Generator) -> Defect:
    """One to three almost straight strokes that taper off and skip in places."""

    def change(scene: Scene, rng: np.random.Generator) -> np.ndarray:
        centre = scene.point(rng)
        length = scene.extent * np.exp(rng.uniform(np.log(0.12), np.log(0.6)))
        width = scene.stroke * np.exp(rng.uniform(np.log(0.8), np.log(2.2)))
        line = _lines(scene, rng, centre, length, width)
        local = scene.around(centre, length / 4)
        light = local.mean() < rng.uniform(0.25, 0.75)
        groove = _lighter(scene.rgb, local, rng) if light else scene.rgb * rng.uniform(0.25, 0.65)
        edge = scene.rgb * 0.6 if light else _lighter(scene.rgb, local, rng)
        shift = max(1, round(width / 2))
        rim = np.roll(line, rng.choice([-shift, shift], 2), (0, 1)) * (1 - line)
        out = mix(scene.rgb, edge, rim * scene.soft_cover * np.float32(rng.uniform(0, 0.5)))
        return mix(out, groove, line * scene.soft_cover * np.float32(rng.uniform(0.5, 1)))

    return paint(image, rng, change, "a scratch")


def _lighter(rgb: np.ndarray, local: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The bare material: near white, with some of the surrounding colour."""
    bare = np.float32(0.6) + np.float32(0.4) * local / max(float(local.max()), 0.05)
    return rgb + np.float32(rng.uniform(0.3, 0.75)) * (bare - rgb)


def _lines(
    scene: Scene, rng: np.random.Generator, centre: np.ndarray, length: float, width: float
) -> np.ndarray:
    """Coverage (H, W) of a bundle of strokes around a point."""
    side = int(length * 1.3 + 6 * width) + 8
    heading = rng.uniform(0, 2 * np.pi)
    pieces: list[np.ndarray] = []
    widths: list[np.ndarray] = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        own = length * rng.uniform(0.5, 1)
        turn = heading + rng.normal(0, 0.08)
        start = side / 2 - own / 2 * np.array([np.cos(turn), np.sin(turn)])
        start = start + rng.normal(0, length / 16, 2) * (len(pieces) > 0)
        path = wander(rng, start, own, turn, rng.uniform(0, 0.05), max(2.0, own / 32))
        along = np.linspace(0, 1, len(path) - 1)
        pieces += [path[i : i + 2] for i in range(len(path) - 1)]
        widths += list(width * (0.35 + np.sqrt(np.sin(np.pi * np.clip(along, 0.03, 0.97)))))
    line = strokes(pieces, widths, side)
    contact = smoothstep(lumps(rng, 14, side), -1.6, -0.6)
    return scene.put(line * contact, centre)
