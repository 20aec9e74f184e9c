"""Missing parts: a piece of the object is gone and the background shows."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from vlad.synthetic.canvas import Defect, Scene, Sources, grey, paint, resized
from vlad.synthetic.noise import mix, polygon, relief

_LOW = 128  # side in pixels for continuing the background


def missing(image: np.ndarray, sources: Sources, rng: np.random.Generator) -> Defect:
    """A piece broken off the object's rim or out of it, so the background shows.

    If no object is found on a background, a pit in the surface instead.
    """
    scene = Scene(image)
    if not scene.isolated:
        return paint(image, rng, _pit, "a missing part")
    ground = _background(scene, rng)
    rim = np.argwhere(scene.cover & ~ndimage.binary_erosion(scene.cover))[:, ::-1]
    # remove the blurred outline with the piece
    wide = ndimage.binary_dilation(scene.cover, iterations=max(1, round(3 * scene.stroke)))
    wide = ndimage.uniform_filter(wide.astype(np.float32), 3)

    def change(scene: Scene, rng: np.random.Generator) -> np.ndarray:
        inside = rng.random() < 0.2 or not len(rim)
        centre = scene.point(rng) if inside else rim[rng.integers(len(rim))].astype(np.float32)
        radius = scene.extent * np.exp(rng.uniform(np.log(0.08), np.log(0.3)))
        gone = _piece(scene, rng, centre, radius * (0.5 if inside else 1)) * wide
        return mix(_broken(scene, rng, gone), ground, gone)

    return paint(image, rng, change, "a missing part")


def _broken(scene: Scene, rng: np.random.Generator, gone: np.ndarray) -> np.ndarray:
    """The image with a lit or shadowed break along the missing piece."""
    width = scene.stroke * rng.uniform(1, 4)
    band = np.clip(2 * ndimage.gaussian_filter(gone, width), 0, 1) * (1 - gone) * scene.soft_cover
    band = np.clip(band * (1 + 0.4 * scene.grain(rng, 0.6)), 0, 1)
    if rng.random() < 0.5:
        return mix(scene.rgb, scene.rgb * np.float32(rng.uniform(0.4, 0.8)), band)
    inner = scene.rgb[scene.cover].mean(0)
    return mix(scene.rgb, inner + rng.uniform(0.1, 0.5) * (1 - inner), band * np.float32(0.6))


def _piece(scene: Scene, rng: np.random.Generator, centre: np.ndarray, radius: float) -> np.ndarray:
    """Coverage (H, W) of the piece that breaks off: angular or round."""
    if rng.random() < 0.4:
        return scene.spot(rng, centre, radius, rng.uniform(0.05, 0.25), 0.7 * scene.stroke)
    count = int(rng.integers(6, 12))
    turn = 2 * np.pi * (np.arange(count) + rng.uniform(-0.4, 0.4, count)) / count
    reach = radius * rng.uniform(0.6, 1.2, count)
    side = int(2.5 * radius) + 4
    corners = reach[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1) + side / 2
    return scene.put(polygon(corners, side), centre)


def _pit(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A pit spalled from a surface: a rough darker floor, a shadowed and a lit rim."""
    centre = scene.point(rng)
    radius = scene.extent * np.exp(rng.uniform(np.log(0.03), np.log(0.12)))
    gone = _piece(scene, rng, centre, radius)
    floor = scene.around(centre, radius) * rng.uniform(0.35, 0.8)
    floor = floor * (1 + rng.uniform(0.05, 0.2) * scene.grain(rng, 0.7))[..., None]
    depth = ndimage.gaussian_filter(gone, scene.stroke * rng.uniform(1, 2))
    lit = relief(-depth * scene.stroke * 4, rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.9))
    return mix(scene.rgb, floor.astype(np.float32), gone) * lit[..., None]


def _background(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The background continued under the object, (H, W, 3), with its nearest colours and grain."""
    scale = min(1.0, _LOW / max(scene.shape))
    size = tuple(max(4, round(side * scale)) for side in scene.shape)
    small = resized((scene.rgb * 255).astype(np.uint8), size)
    # skip a margin around the object: soft edges, shadows
    near = ndimage.binary_dilation(resized(scene.cover.astype(np.float32), size) > 0.02)
    near = ndimage.binary_dilation(near, iterations=3)
    if near.all():
        near = resized(scene.cover.astype(np.float32), size) > 0.5
    rows, columns = ndimage.distance_transform_edt(
        near, return_distances=False, return_indices=True
    )
    filled = ndimage.gaussian_filter(small[rows, columns], (3, 3, 0))
    ground = resized(filled, scene.shape).astype(np.float32) / 255
    bare = ~scene.cover
    noise = float(np.std(grey(scene.rgb - ground)[bare])) if bare.any() else 0.0
    return ground + (min(noise, 0.02) * scene.grain(rng, 0.3))[..., None]
