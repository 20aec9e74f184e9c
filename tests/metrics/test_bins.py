"""Bins: whatever scores they were made of, the brackets hold the metrics of those scores."""

import numpy as np
import pytest

from vlad.metrics import average_precision, curves
from vlad.metrics.bins import Bins, brackets, quantile_edges


def grouped(rng, values, weights):
    """Bins of scores thrown together at random, so that their intervals overlap."""
    group = rng.integers(0, max(1, len(values) // 3), len(values))
    members = [group == g for g in np.unique(group)]
    return Bins(
        np.array([values[m].min() for m in members]),
        np.array([values[m].max() for m in members]),
        np.array([m.sum() for m in members]),
        np.array([weights[m].sum() for m in members]),
    )


@pytest.mark.parametrize("levels", [3, 8, 1000])
def test_brackets_of_overlapping_bins_hold_the_exact_values(levels):
    rng = np.random.default_rng(levels)
    for _ in range(300):
        positive, negative = (
            np.floor(rng.random(rng.integers(1, 12)) ** rng.uniform(0.3, 3) * levels)
            for _ in range(2)
        )
        weights = rng.random(positive.size)
        limit = rng.uniform(0.02, 1)
        found = brackets(
            grouped(rng, positive, weights / weights.sum()),
            grouped(rng, negative, np.zeros(negative.size)),
            1,
            limit,
        )
        curve = curves.curve(positive.copy(), negative.copy())
        overlap = curves.overlap(curve, positive, weights / weights.sum())
        labels = np.repeat([1, 0], [positive.size, negative.size])
        for name, value in {
            "pixel_auroc": curves.auroc(curve),
            "pixel_ap": average_precision(np.concatenate([positive, negative]), labels),
            "pixel_f1_max": curves.f1_max(curve)[0],
            "aupro": curves.aupro(curve, overlap, limit),
        }.items():
            low, high = found[name]
            assert low - 1e-9 <= value <= high + 1e-9, name


def test_half_of_the_edges_lie_in_the_top_tail_and_crowded_values_stand_alone():
    scores = np.arange(100_000.0)
    edges = quantile_edges(scores, np.ones(scores.size, int), 1000)
    in_tail = (edges >= 90_000).sum()
    assert 0.49 * edges.size <= in_tail <= 0.6 * edges.size
    scores[:30_000] = 7.0
    edges = quantile_edges(scores, np.ones(scores.size, int), 1000)
    assert {7.0, np.nextafter(7.0, np.inf)} <= set(edges)
