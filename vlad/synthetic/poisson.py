"""Natural synthetic anomalies: a patch of another normal image, seamlessly blended in.

Schlüter et al., "Natural Synthetic Anomalies for Self-supervised Anomaly Detection and
Localization", ECCV 2022: patches whose sides follow a gamma distribution, rescaled and cloned by
Poisson image editing (Pérez et al., SIGGRAPH 2003).
"""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

from vlad.synthetic.canvas import Defect, Scene, Sources, borrow, object_cover, paint, resized

_SIDE = (0.06, 0.4)  # side of a patch, as a share of the object
_GAMMA = (2.0, 0.1)  # shape and scale of the addition to the smallest side
_RESCALED = (0.7, 1.3)
_PATCHES = 3  # at most


def poisson(image: np.ndarray, sources: Sources, rng: np.random.Generator) -> Defect:
    """One to three patches of another normal image, or of the image itself without others."""
    other = borrow(sources.normals, rng)
    source = image if other is None else other
    source_cover = object_cover(source)
    if source_cover is None:
        source_cover = np.ones(source.shape[:2], bool)

    def change(scene: Scene, rng: np.random.Generator) -> np.ndarray:
        out = scene.rgb.copy()
        for _ in range(1 + rng.binomial(_PATCHES - 1, 0.5)):
            _clone(out, scene, source, source_cover, rng)
        return out

    return paint(image, rng, change, "a deformed part")


def _clone(
    out: np.ndarray,
    scene: Scene,
    source: np.ndarray,
    source_cover: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Blend one patch into `out`."""
    share = np.clip(_SIDE[0] + rng.gamma(*_GAMMA, 2), *_SIDE)
    h, w = (
        max(3, min(round(s), most))
        for s, most in zip(share * scene.extent, scene.shape, strict=True)
    )
    scale = rng.uniform(*_RESCALED)
    sides = [
        max(2, min(round(s / scale), m)) for s, m in zip((h, w), source.shape[:2], strict=True)
    ]
    inside = np.flatnonzero(source_cover)
    middle = divmod(int(inside[rng.integers(len(inside))]), source.shape[1])
    top, left = _corner(middle, sides, source.shape[:2])
    cut = np.s_[top : top + sides[0], left : left + sides[1]]
    patch = resized(source[cut], (h, w)).astype(np.float32) / 255
    on_object = resized(source_cover[cut].astype(np.float32), (h, w)) > 0.5
    top, left = _corner(scene.point(rng)[::-1], (h, w), scene.shape)
    place = np.s_[top : top + h, left : left + w]
    cover = scene.cover[place]
    # the outline keeps its own gradients, or the background would bleed into the object
    margin = max(1, round(4 * scene.stroke))
    inner = ndimage.binary_erosion(cover, iterations=margin, border_value=1)
    blended = blend(out[place], patch, on_object & inner)
    out[place] = np.where(cover[..., None], blended, out[place])


def _corner(middle, sides, shape) -> tuple[int, int]:
    """Top and left of a rectangle around a point, moved inside the image."""
    top, left = (
        int(np.clip(m - s // 2, 0, most - s))
        for m, s, most in zip(middle, sides, shape, strict=True)
    )
    return top, left


def blend(target: np.ndarray, patch: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """The target with the patch cloned into it: the patch's gradients, the target's border.

    Solve Δf = div v inside with f = target on the outermost pixels, where v are the differences of
    the patch between two pixels of the mask and of the target elsewhere.

    Args:
        target, patch: (h, w, C).
        mask: (h, w) bool, where to take the gradients of the patch; None is everywhere.

    Returns:
        (h, w, C) float32; may slightly exceed the range of the input.
    """
    out = target.astype(np.float32)
    if min(target.shape[:2]) < 3:
        return out
    divergence = np.zeros_like(out)
    for axis in (0, 1):
        step = np.diff(out, axis=axis)
        other = np.diff(patch.astype(np.float32), axis=axis)
        if mask is not None:
            ahead, behind = np.delete(mask, 0, axis), np.delete(mask, -1, axis)
            other = np.where((ahead & behind)[..., None], other, step)
        # (f(p + 1) − f(p)) − (f(p) − f(p − 1)), on the inner pixels
        change = np.diff(other - step, axis=axis)
        divergence[(slice(1, -1), slice(None)) if axis == 0 else (slice(None), slice(1, -1))] += (
            change
        )
    # the addition to the target is zero on the border, so a sine transform diagonalises Δ
    out[1:-1, 1:-1] += solve_poisson(divergence[1:-1, 1:-1])
    return out


def solve_poisson(divergence: np.ndarray) -> np.ndarray:
    """f with Δf = divergence (five-point stencil) and f = 0 just outside, by sine transforms.

    Args:
        divergence: (h, w, C).
    """
    h, w = divergence.shape[:2]
    down, across = (2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) - 2 for n in (h, w))
    eigenvalues = (down[:, None] + across)[..., None].astype(np.float32)
    spectrum = fft.dstn(divergence, type=1, axes=(0, 1)) / eigenvalues
    return fft.idstn(spectrum, type=1, axes=(0, 1))
