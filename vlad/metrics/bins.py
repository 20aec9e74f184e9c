"""Histograms of scores on quantile edges, and the metrics they leave possible.

A bin keeps how many scores fell into it and the lowest and the highest of them, so each score is
known to lie in a closed interval, often a single value. Intervals of different histograms may
overlap; nothing here needs them apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vlad.metrics import curves
from vlad.metrics.curves import Curve, counts_at


class Bins(NamedTuple):
    """Scores of one class, known up to intervals.

    Attributes:
        low, high: (B,) float64, the lowest and the highest score of each bin.
        counts: (B,) int64 scores in it, at least one.
        weight: (B,) float64 sum of their region weights; zero for normal pixels.
    """

    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    weight: np.ndarray


NONE = Bins(np.empty(0), np.empty(0), np.empty(0, np.int64), np.empty(0))


def joined(a: Bins, b: Bins) -> Bins:
    return Bins(*(np.concatenate(pair) for pair in zip(a, b, strict=True)))


def quantile_edges(values: np.ndarray, counts: np.ndarray, bins: int) -> np.ndarray:
    """Edges at quantiles: half evenly over all ranks, half over the top tenth.

    In the tail the ranks counted from the top grow by about a constant factor, so that the share of
    scores above a threshold is known to the same relative precision everywhere. A value that takes
    up two edges or more is closed in from both sides: its bin holds nothing else.

    Args:
        values, counts: (n,) scores and how often each stands.

    Returns:
        (at most 2 · bins,) float64, ascending; a bin reaches from an edge to just below the next.
    """
    order = values.argsort()
    values, upto = values[order].astype(np.float64), counts[order].cumsum()
    total, half = int(upto[-1]), bins // 2
    # one rank further at least from edge to edge, or the top would take many edges twice
    depth = np.arange(half) + np.geomspace(1, max(total / 10 - half, 1), half).astype(np.int64)
    even = np.linspace(0, total - 1, half).astype(np.int64)
    ranks = np.union1d(even, np.maximum(total - depth, 0))
    found, times = np.unique(values[np.searchsorted(upto, ranks, "right")], return_counts=True)
    return np.union1d(found, np.nextafter(found[times > 1], np.inf))


def binned(values: np.ndarray, edges: np.ndarray, weights: np.ndarray | None = None) -> Bins:
    """Scores (n,), put into the bins between the edges and beyond them."""
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
    """Bins joined where their highest scores lie between the same edges."""
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
    """The lowest and the highest value of each metric that scores in these bins can have.

    AUROC, F1-max and AUPRO never fall when an anomalous score rises or a normal one falls. So they
    are lowest with the anomalous scores at the low ends of their bins and the normal ones at the
    high ends, and highest the other way round. For average precision see `_precision_bracket`.
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
    """The curve if all scores of a bin were the one given for it, and the summed weights."""
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
    """Average precision is a mean of the precision at the score of each anomalous value.

    That is tp / (tp + fp), which grows with tp and falls with fp. At a score in [low, high], at
    most the anomalous values of bins that end at `low` or above count, and at least the normal ones
    of bins that start at `high` or above: the highest value. For the lowest, all normal values of
    bins that end at `low` or above count, but only the anomalous ones of bins that start at `high`
    or above and, of the j-th highest score of the bin itself, j. That precision is concave in j, so
    the sum over j is at least its chord. (Only moving scores to the ends of their bins would not
    do: breaking a tie between anomalous values can lower average precision.)
    """
    low, high, count, _ = anomalous
    tp = _at_or_above(low, high, count)
    fp = _at_or_above(high, normal.low, normal.counts)
    highest = tp / (tp + fp)

    others = _at_or_above(high, low, count)
    others = np.where(low == high, others - count, others)  # a bin of one value counts itself there
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
