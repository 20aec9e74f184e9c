"""Severity: image scores as ordered levels."""

from __future__ import annotations

import numpy as np

# multiples of the distance from the reference's median to the threshold
EDGES = (1.0, 2.0, 3.0)


def excess(scores: np.ndarray, reference: np.ndarray, threshold: float) -> np.ndarray:
    """(B,) scores rescaled: 0 at the reference's median, 1 at the threshold."""
    median = float(np.median(reference))
    way = max(threshold - median, 1e-9 * max(1.0, abs(threshold)))
    return (scores - median) / way


def severities(
    scores: np.ndarray, reference: np.ndarray, threshold: float, edges=EDGES
) -> np.ndarray:
    """(B,) levels: the number of edges that the excess of each score passes; 0 is normal.

    Args:
        edges: ascending, in units of `excess`; the first is 1, the threshold itself.
    """
    # the threshold decides the first level, so it always agrees with the verdict
    passed = np.searchsorted(np.asarray(edges[1:]), excess(scores, reference, threshold))
    return np.where(scores > threshold, 1 + passed, 0)


def learned_edges(
    scores: np.ndarray, levels: np.ndarray, reference: np.ndarray, threshold: float
) -> tuple[float, ...]:
    """Edges that best separate the levels of labelled images (largest mean recall of both sides).

    Args:
        scores: (N,).
        levels: (N,) whole numbers, 0 for normal.
    """
    edges = [1.0]
    for level in range(2, int(levels.max()) + 1):
        defects = levels >= 1
        own, worse = excess(scores[defects], reference, threshold), levels[defects] >= level
        if worse.all() or not worse.any():
            continue
        candidates = np.unique(own)
        middles = np.append(-np.inf, (candidates[1:] + candidates[:-1]) / 2)
        recall = [(own[worse] > m).mean() + (own[~worse] <= m).mean() for m in middles]
        edges.append(max(edges[-1], float(middles[int(np.argmax(recall))])))
    return tuple(edges)
