"""Whether embeddings of a window are distributed like those of a reference.

The distance is that of Fréchet between two Gaussians whose axes are the principal axes of both
sets together, in units of the shrunk covariance of both together (Ledoit and Wolf 2004). Its
p-value is that of a permutation test: if both are drawn alike, any images could as well have been
the window. That is exact for any number of images, and for any distribution.
"""

from __future__ import annotations

import numpy as np

WIDTH = 32  # numbers that an embedding is projected to
BATCH = 100  # permutations at once


def projected(embeddings: np.ndarray) -> np.ndarray:
    """(N, min(D, 32)) float32 of (N, D): random directions, the same for each D.

    They depend on no image, so the permutation test stays exact.
    """
    width = embeddings.shape[1]
    if width <= WIDTH:
        return embeddings.astype(np.float32)
    # this generator never changes, so files stay valid
    directions = np.random.RandomState(width).standard_normal((width, WIDTH)) / np.sqrt(width)
    return (embeddings @ directions).astype(np.float32)


def whitened(reference: np.ndarray, window: np.ndarray) -> np.ndarray:
    """(n + w, K) both sets along their common principal axes, in standard deviations.

    Args:
        reference: (n, K).
        window: (w, K).
    """
    import torch

    from vlad.maths.moments import Moments

    both = np.concatenate([reference, window]).astype(float)
    values, axes = np.linalg.eigh(Moments.of(torch.from_numpy(both)).ledoit_wolf().numpy())
    scale = np.sqrt(np.maximum(values, 1e-12 * max(values.max(), 1e-300)))
    return (both - both.mean(axis=0)) @ axes / scale


def distances(x: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """(B,) squared Fréchet distance between the rows of a window and the others.

    Σ (m − m')² + (s − s')² over the axes, m and s mean and standard deviation.

    Args:
        x: (N, K) from `whitened`.
        windows: (B, N) bool, which rows each window has.
    """
    inside = windows.astype(float)
    count = inside.sum(axis=1, keepdims=True)
    sums, squares = inside @ x, inside @ x**2
    means, others = sums / count, (x.sum(axis=0) - sums) / (len(x) - count)
    spread = np.sqrt(np.maximum(squares / count - means**2, 0))
    rest = ((x**2).sum(axis=0) - squares) / (len(x) - count)
    spread_of_others = np.sqrt(np.maximum(rest - others**2, 0))
    return ((means - others) ** 2 + (spread - spread_of_others) ** 2).sum(axis=1)


def embeddings_p_value(reference: np.ndarray, window: np.ndarray, level: float) -> float:
    """The probability that a window drawn like the reference is as far from it.

    Permutations end as soon as the p-value can no longer reach the level.

    Args:
        reference: (n, K) from `projected`.
        window: (w, K).
        level: below which the window is called different.
    """
    x = whitened(reference, window)
    n, w = len(reference), len(window)
    found = distances(x, (np.arange(n + w) >= n)[None])[0]
    random = np.random.default_rng(n + w)
    most = int(2 / level)  # so that one permutation as far away is still below the level
    above = done = 0
    while done < most and (above + 1) / (most + 1) <= level:
        keys = random.random((min(BATCH, most - done), n + w))
        drawn = keys <= np.partition(keys, w - 1, axis=1)[:, w - 1 : w]
        above += int((distances(x, drawn) >= found * (1 - 1e-9)).sum())
        done += len(keys)
    return (above + 1) / (done + 1)
