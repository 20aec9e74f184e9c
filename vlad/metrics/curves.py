"""The curve behind all metrics, and each metric computed from it.

Between the distinct scores of the *anomalous* values, only false positives change, so two counts of
normal values at each of these scores define the whole curve. One sort of the normal values, without
an index array, gives them in a fraction of a second for 5 million pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Curve(NamedTuple):
    """Cumulative counts at the m distinct scores of anomalous values, from high to low.

    Attributes:
        thresholds: (m,) the scores.
        tp: (m,) anomalous values with a score ≥ the threshold.
        fp: (m,) normal values with a score ≥ the threshold.
        fp_above: (m,) normal values with a score > the threshold; `fp` minus the ties.
        normals: number of normal values.
    """

    thresholds: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fp_above: np.ndarray
    normals: int


def curve(positive: np.ndarray, negative: np.ndarray) -> Curve:
    """The curve of anomalous (P,) and normal (N,) scores; both are sorted in place."""
    positive.sort()
    negative.sort()
    first = np.flatnonzero(np.append(True, positive[1:] != positive[:-1]))
    thresholds = positive[first][::-1]
    tp = (positive.size - first)[::-1]
    return Curve(thresholds, tp, *counts_at(thresholds, negative), negative.size)


def counts_at(
    thresholds: np.ndarray, values: np.ndarray, counts: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(≥, >): how many sorted values, each counted `counts` times (default 1), reach each
    threshold.
    """
    starts = np.searchsorted(values, thresholds, side="left")
    ends = np.searchsorted(values, thresholds, side="right")
    if counts is None:
        return values.size - starts, values.size - ends
    below = np.append(0, np.cumsum(counts))
    return below[-1] - below[starts], below[-1] - below[ends]


def overlap(curve: Curve, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) summed weights of the anomalous (P,) scores at or above each threshold."""
    return weights[positive.argsort()[::-1]].cumsum()[curve.tp - 1]


def auroc(curve: Curve) -> float:
    # In integers: a normal value below counts 2, a tie 1.
    wins = np.diff(curve.tp, prepend=0) * (2 * curve.normals - curve.fp - curve.fp_above)
    return int(wins.sum()) / (2 * int(curve.tp[-1]) * curve.normals)


def average_precision(curve: Curve) -> float:
    precision = curve.tp / (curve.tp + curve.fp)
    return float(np.diff(curve.tp, prepend=0) @ precision) / int(curve.tp[-1])


def f1_max(curve: Curve) -> tuple[float, float]:
    f1 = 2 * curve.tp / (curve.tp[-1] + curve.tp + curve.fp)
    best = f1.argmax()
    return float(f1[best]), float(curve.thresholds[best])


def aupro(curve: Curve, overlap: np.ndarray, limit: float) -> float:
    """The area under (false-positive rate, overlap) up to the limit, divided by the limit.

    Args:
        overlap: (m,) mean overlap of the regions at each threshold, in [0, 1].
    """
    # Constant up to the normal pixels above each score, then linear across its ties.
    fpr = np.column_stack([curve.fp_above, curve.fp]).ravel() / curve.normals
    fpr = np.concatenate([[0], fpr, [1]])
    overlap = np.concatenate([[0, 0], np.repeat(overlap, 2)])
    inside = np.searchsorted(fpr, limit, side="right")
    overlap = np.append(overlap[:inside], np.interp(limit, fpr, overlap))
    fpr = np.append(fpr[:inside], limit)
    area = np.diff(fpr) @ (overlap[1:] + overlap[:-1]) / 2
    return min(float(area) / limit, 1.0)  # sums of rounded weights may exceed 1 by about 1e-16
