"""Order by severity: against the plain loop over all pairs, and what users rely on."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from vlad.errors import InputError
from vlad.metrics import auroc, concordance, kendall_tau


def by_pairs(scores, levels):
    right, pairs = 0.0, 0
    for i in range(len(scores)):
        for j in range(i):
            if levels[i] != levels[j]:
                pairs += 1
                order = (float(scores[i]) - scores[j]) * (float(levels[i]) - levels[j])
                right += 1 if order > 0 else 0.5 if order == 0 else 0
    return right / pairs


@pytest.mark.parametrize("seed", range(30))
def test_as_counted_pair_by_pair(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 60))
    levels = rng.integers(0, rng.integers(2, 8), n)
    levels[:2] = 0, 1
    # few distinct values, so that there are ties of every kind
    scores = np.round(rng.normal(levels * rng.normal(), 1), int(rng.integers(0, 3)))
    scores = scores.astype(rng.choice([np.float64, np.float32, np.float16]))
    assert concordance(scores, levels) == by_pairs(scores, levels)
    assert kendall_tau(scores, levels) == pytest.approx(
        kendalltau(scores, levels).statistic, abs=1e-12, nan_ok=True
    )


def test_two_levels_are_auroc():
    rng = np.random.default_rng(0)
    labels = rng.random(5000) < 0.3
    scores = np.round(rng.normal(labels, 1), 2)
    assert concordance(scores, labels) == pytest.approx(auroc(scores, labels), abs=1e-15)
    assert concordance(scores, 7 * labels) == concordance(scores, labels)


def test_large_sets_are_counted_exactly():
    rng = np.random.default_rng(1)
    levels = np.repeat([0, 2, 3], 40_000)
    scores = rng.permutation(levels.size)
    # the two lowest and the highest level, each against the other in whole numbers
    wins = 0
    for low, high in ((0, 2), (0, 3), (2, 3)):
        below = np.sort(scores[levels == low])
        wins += int(np.searchsorted(below, scores[levels == high]).sum())
    assert concordance(scores, levels) == wins / (3 * 40_000**2)


def test_order_alone_counts():
    levels = [0, 0, 1, 2, 2, 3]
    scores = np.array([0.1, 0.2, 0.3, 0.5, 0.4, 0.9])
    assert concordance(scores, levels) == 1
    assert concordance(-scores, levels) == 0
    assert concordance(np.exp(9 * scores), [0, 0, 10, 20, 20, 300]) == 1
    assert concordance(np.full(6, 0.7), levels) == 0.5
    assert concordance([-np.inf, 0, 0, np.inf], [0, 1, 1, 2]) == 1
    assert kendall_tau(scores, range(6)) == pytest.approx(1 - 2 / 15)


@pytest.mark.parametrize("levels", [[2, 2, 2], [0], []])
def test_a_single_level_is_undefined(levels):
    for metric in (concordance, kendall_tau):
        with pytest.warns(UserWarning, match="no pair of different values") as caught:
            assert np.isnan(metric(np.arange(len(levels)), levels))
        assert [warning.filename for warning in caught] == [__file__]


def test_wrong_input_is_refused():
    for metric in (concordance, kendall_tau):
        with pytest.raises(InputError, match="same shape"):
            metric([0.1, 0.2], [0, 1, 2])
        with pytest.raises(InputError, match="NaN"):
            metric([0.1, np.nan], [0, 1])
        with pytest.raises(InputError, match="levels contain negative"):
            metric([0.1, 0.2], [0, -1])
