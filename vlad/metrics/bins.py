"""Histograms of scores on quantile edges, and the bounds they give for each metric.

A bin stores the number of its scores and the lowest and highest of them, so each score is known to
be in a closed interval, often a single value. Intervals of different histograms may overlap.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vlad.metrics import curves
from vlad.metrics.curves import Curve, counts_at


class Bins(NamedTuple):
    """Scores of one class, known up to intervals.

    Attributes:
        low, high: (B,) float64, the lowest and highest score of each bin.
        counts: (B,) int64 number of scores in each, at least one.
        weight: (B,) float64 sum of their region weights; 0 for normal pixels.
    """

    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    weight: np.ndarray


NONE = Bins(np.empty(0), np.empty(0), np.empty(0, np.int64), np.empty(0))


def joined(a: Bins, b: Bins) -> Bins:
    return Bins(*(np.concatenate(pair) for pair in zip(a, b, strict=True)))


def quantile_edges(values: np.ndarray, counts: np.ndarray, bins: int) -> np.ndarray:
    """Edges at quantiles: half of them evenly over all ranks, half over the top tenth.

    In the tail, ranks from the top grow by about a constant factor, so the share of scores above a
    threshold has the same relative precision everywhere. A value that spans two or more edges gets
    a bin of its own.

    Args:
        values, counts: (n,) scores and how often each occurs.

    Returns:
        (at most 2 · bins,) float64, ascending; a bin spans from an edge to just below the next.
    """
    order = values.argsort()
    values, upto = values[order].astype(np.float64), counts[order].cumsum()
    total, half = int(upto[-1]), bins // 2
    # at least one rank between edges, or the top would repeat many edges
    depth = np.arange(half) + np.geomspace(1, max(total / 10 - half, 1), half).astype(np.int64)
    even = np.linspace(0, total - 1, half).astype(np.int64)
    ranks = np.union1d(even, np.maximum(total - depth, 0))
    found, times = np.unique(values[np.searchsorted(upto, ranks, "right")], return_counts=True)
    return np.union1d(found, np.nextafter(found[times > 1], np.inf))


def binned(values: np.ndarray, edges: np.ndarray, weights: np.ndarray | None = None) -> Bins:
    """Scores (n,), sorted into the bins between and beyond the edges."""
    if weights is None:
        values, weights = np.sort(values), np.zeros(values.size)
    else:
        order = values.argsort()
        values, weights = values[order], weights[order]
    bounds = np.concatenate([[0], np.searchsorted(values, edges), [values.size]])
    start, end = bounds[:-1], bounds[1:]
    start, end = start[end > start], end[end > start]
    if not start.size:
        return NONE
    low, high = values[start].astype(np.float64), values[end - 1].astype(np.float64)
    return Bins(low, high, end - start, np.add.reduceat(weights, start))


def regrouped(bins: Bins, edges: np.ndarray) -> Bins:
    """Bins joined if their highest scores are between the same edges."""
    if not bins.counts.size:
        return bins
    group = np.searchsorted(edges, bins.high, side="right")
    order = group.argsort(kind="stable")
    start = np.flatnonzero(np.diff(group[order], prepend=-1))
    reduce = (np.minimum, np.maximum, np.add, np.add)
    return Bins(*(f.reduceat(x[order], start) for f, x in zip(reduce, bins, strict=True)))


def brackets(
    anomalous: Bins, normal: Bins, regions: int, limit: float
) -> dict[str, tuple[float, float]]:
    """The lowest and highest value that each metric can have with scores in these bins.

    AUROC, F1-max and AUPRO never fall when an anomalous score rises or a normal one falls, so they
    are lowest with anomalous scores at the low ends of their bins and normal ones at the high ends,
    and highest with the opposite. For average precision see `_precision_bracket`.
    """
    low, low_overlap = _scenario(anomalous, anomalous.low, normal, normal.high)
    high, high_overlap = _scenario(anomalous, anomalous.high, normal, normal.low)
    return {
        "pixel_auroc": (curves.auroc(low), curves.auroc(high)),
        "pixel_ap": _precision_bracket(anomalous, normal),
        "pixel_f1_max": (curves.f1_max(low)[0], curves.f1_max(high)[0]),
        "aupro": (
            curves.aupro(low, low_overlap / regions, limit),
            curves.aupro(high, high_overlap / regions, limit),
        ),
    }


def _scenario(
    anomalous: Bins, positive: np.ndarray, normal: Bins, negative: np.ndarray
) -> tuple[Curve, np.ndarray]:
    """The curve if all scores of a bin had the given value, and the summed weights."""
    thresholds = np.unique(positive)[::-1]
    return (
        Curve(
            thresholds,
            _at_or_above(thresholds, positive, anomalous.counts),
            *_counts(thresholds, negative, normal.counts),
            int(normal.counts.sum()),
        ),
        _at_or_above(thresholds, positive, anomalous.weight),
    )


def _precision_bracket(anomalous: Bins, normal: Bins) -> tuple[float, float]:
    """Average precision is the mean precision at the score of each anomalous value.

    Precision is tp / (tp + fp), which grows with tp and falls with fp. At a score in [low, high],
    it is highest with the anomalous values of all bins that end at `low` or above and the normal
    ones of bins that start at `high` or above. It is lowest with all normal values of bins that end
    at `low` or above, but only the anomalous ones of bins that start at `high` or above plus, for
    the j-th highest score of the bin itself, j. This is concave in j, so the sum over j is at least
    its chord. (Moving scores to the ends of their bins would not suffice: breaking a tie between
    anomalous values can lower average precision.)
    """
    low, high, count, _ = anomalous
    tp = _at_or_above(low, high, count)
    fp = _at_or_above(high, normal.low, normal.counts)
    highest = tp / (tp + fp)

    others = _at_or_above(high, low, count)
    others = np.where(low == high, others - count, others)  # without itself
    fp = _at_or_above(low, normal.high, normal.counts)
    last = (others + count) / (others + count + fp)
    first = np.where(low == high, last, (others + 1) / (others + 1 + fp))
    total = count.sum()
    return float(count @ ((first + last) / 2) / total), float(count @ highest / total)


def _at_or_above(thresholds: np.ndarray, values: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    return _counts(thresholds, values, amounts)[0]


def _counts(
    thresholds: np.ndarray, values: np.ndarray, amounts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    order = values.argsort()
    return counts_at(thresholds, values[order], amounts[order])
