"""CutPaste: a piece of the image cut out and pasted elsewhere.

Li et al., "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization", CVPR 2021: a
rectangle of 2 to 15 % of the image, or a thin rotated strip ("scar"), its colours jittered. Here, a
piece of the object, if one is found, is cut out and pasted onto it.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from vlad.synthetic.canvas import Defect, Scene, Sources, grey, paint

_JITTER = 0.1


def cutpaste(image: np.ndarray, sources: Sources, rng: np.random.Generator) -> Defect:
    """A rectangle of another part, 2 to 15 % of the object's area, with sides up to 1 : 3.3."""

    def change(scene: Scene, rng: np.random.Generator) -> np.ndarray:
        area = rng.uniform(0.02, 0.15)
        aspect = rng.uniform(1, 3.3) ** rng.choice([-1, 1])
        size = scene.extent * np.sqrt(area * np.array([aspect, 1 / aspect]))
        return _paste(scene, rng, size, 0.0)

    return paint(image, rng, change, "a misplaced piece")


def cutpaste_scar(image: np.ndarray, sources: Sources, rng: np.random.Generator) -> Defect:
    """A strip of 2 to 16 by 10 to 25 pixels (in an image of 256²), rotated by up to 45°."""

    def change(scene: Scene, rng: np.random.Generator) -> np.ndarray:
        size = scene.stroke * np.array([rng.uniform(2, 16), rng.uniform(10, 25)])
        return _paste(scene, rng, size, rng.uniform(-45, 45))

    return paint(image, rng, change, "a misplaced sliver")


def _paste(scene: Scene, rng: np.random.Generator, size: np.ndarray, degrees: float) -> np.ndarray:
    """A rectangle of the object (w, h) pasted elsewhere on it."""
    height, width = scene.shape
    w, h = (
        int(np.clip(round(side), 1, most)) for side, most in zip(size, (width, height), strict=True)
    )
    x, y = _corner(scene, rng, w, h)
    piece = jitter(scene.rgb[y : y + h, x : x + w], rng)
    shape = Image.fromarray(np.uint8(scene.cover[y : y + h, x : x + w]) * 255)
    if degrees:
        smooth = Image.Resampling.BILINEAR
        shape = shape.rotate(degrees, smooth, expand=True)
        coloured = Image.fromarray(np.uint8(np.clip(piece, 0, 1) * 255))
        coloured = coloured.rotate(degrees, smooth, expand=True)
        piece = np.asarray(coloured, np.float32) / 255
        # the rotated piece has black corners, hidden by its shape
        shape = shape.point(lambda level: 255 if level > 254 else 0)
    h, w = min(piece.shape[0], height), min(piece.shape[1], width)
    x, y = _corner(scene, rng, w, h)
    place = np.s_[y : y + h, x : x + w]
    hidden = (np.asarray(shape)[:h, :w] > 0) & scene.cover[place]
    out = scene.rgb.copy()
    out[place] = np.where(hidden[..., None], piece[:h, :w], out[place])
    return out


def _corner(scene: Scene, rng: np.random.Generator, w: int, h: int) -> tuple[int, int]:
    """Left and top of a rectangle around a point of the object, inside the image."""
    x, y = scene.point(rng)
    height, width = scene.shape
    return int(np.clip(x - w // 2, 0, width - w)), int(np.clip(y - h // 2, 0, height - h))


def jitter(rgb: np.ndarray, rng: np.random.Generator, strength: float = _JITTER) -> np.ndarray:
    """Brightness, contrast, saturation and colour balance changed by up to `strength` each."""
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    balance = rng.uniform(1 - strength / 2, 1 + strength / 2, 3).astype(np.float32)
    out = rgb * (brightness * balance)
    out = out.mean() + (out - out.mean()) * contrast
    lightness = grey(out)[..., None]
    return (lightness + (out - lightness) * saturation).astype(np.float32)
