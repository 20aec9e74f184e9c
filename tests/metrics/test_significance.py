"""DeLong's test, Holm's correction and bootstrap intervals: against plain loops, known limits, and
simulated studies."""

import numpy as np
import pytest
from scipy.stats import norm

from vlad.errors import InputError
from vlad.metrics import (
    Difference,
    auroc,
    average_precision,
    bootstrap,
    delong,
    f1_max,
    holm,
    interval,
    mean_difference,
    resampled,
)


def study(rng, n=60, effect=1.0, shared=0.5, digits=12):
    """Labels and two correlated sets of scores, the second without more effect than the first."""
    labels = np.arange(n) < n // 3
    common = rng.normal(size=n)
    a, b = (shared * common + rng.normal(labels * effect, 1) for _ in range(2))
    return np.round(a, digits), np.round(b, digits), labels


def pair_by_pair(a, b, labels):
    """The test written out over every pair of an anomalous and a normal image."""

    def wins(scores):
        one, other = scores[labels][:, None], scores[~labels][None]
        return np.where(one > other, 1.0, np.where(one == other, 0.5, 0.0))

    both = np.stack([wins(a), wins(b)])
    areas = both.mean(axis=(1, 2))
    rows, columns = np.cov(both.mean(axis=2)), np.cov(both.mean(axis=1))
    covariance = rows / labels.sum() + columns / (~labels).sum()
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    return areas[0] - areas[1], error, 2 * norm.sf(abs(areas[0] - areas[1]) / error)


@pytest.mark.parametrize("seed", range(20))
def test_delong_as_over_every_pair(seed):
    rng = np.random.default_rng(seed)
    n, digits = int(rng.integers(6, 80)), int(rng.integers(0, 3))
    a, b, labels = study(rng, n, digits=digits)
    shuffled = rng.permutation(n)
    a, b, labels = a[shuffled], b[shuffled], labels[shuffled]
    found = delong(a, b, labels)
    assert (found.value, found.error, found.p) == pytest.approx(pair_by_pair(a, b, labels))
    assert found.value == pytest.approx(auroc(a, labels) - auroc(b, labels))
    assert delong(b, a, 7 * labels).p == pytest.approx(found.p)


def test_delong_of_equal_and_of_monotone_scores():
    a, _, labels = study(np.random.default_rng(0))
    assert delong(a, a, labels) == Difference(0, 0, 1)
    assert delong(a, np.exp(a), labels) == Difference(0, 0, 1)
    tied = np.zeros(labels.size)
    assert delong(tied, tied + 1, labels).p == 1
    # without any spread there is no error to compare with
    assert delong(labels * 1.0, tied, labels) == Difference(0.5, 0, 0)


def test_delong_of_several_seeds_compares_their_mean():
    rng = np.random.default_rng(3)
    a, b, labels = study(rng)
    c = b + rng.normal(size=b.size)
    found = delong([a, a], [b, c], labels)
    mean = (auroc(b, labels) + auroc(c, labels)) / 2
    assert found.value == pytest.approx(auroc(a, labels) - mean)
    assert delong([a, a, a], b, labels) == delong(a, b, labels)
    # the error of the mean, from a jackknife over images of both classes
    values = []
    for left_out in range(labels.size):
        kept = np.arange(labels.size) != left_out
        values.append(delong([a[kept]], [b[kept], c[kept]], labels[kept]).value)
    spread = 0.0
    for group in (labels, ~labels):
        own = np.array(values)[group]
        spread += (own.size - 1) / own.size * ((own - own.mean()) ** 2).sum()
    assert found.error == pytest.approx(np.sqrt(spread), rel=0.02)


def test_delong_false_alarms_and_power():
    rng = np.random.default_rng(1)
    none = [delong(*study(rng)).p for _ in range(800)]
    assert 0.03 < np.mean(np.array(none) < 0.05) < 0.08
    found = []
    for _ in range(100):
        a, b, labels = study(rng, 200)
        found.append(delong(a + labels, b, labels).p)
    assert np.mean(np.array(found) < 0.05) > 0.9


def test_mean_of_categories():
    first, second = Difference(0.2, 0.03, 0.1), Difference(0.0, 0.04, 1.0)
    found = mean_difference([first, second])
    assert (found.value, found.error) == pytest.approx((0.1, 0.025))
    assert found.p == pytest.approx(2 * norm.sf(4))
    assert mean_difference([Difference(0, 0, 1)]).p == 1
    with pytest.raises(InputError, match="is empty"):
        mean_difference([])


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8, 1.0]) == pytest.approx([1, 1, 1])
    assert holm([]).size == 0
    for wrong in ([0.1, 1.1], [np.nan], [[0.1]], -0.5):
        with pytest.raises(InputError, match="p-values of shape"):
            holm(wrong)


def test_named_metrics_are_those_of_the_resampled_images():
    rng = np.random.default_rng(4)
    a, b, labels = study(rng, 40, digits=1)
    plain = {"auroc": auroc, "ap": average_precision, "f1_max": lambda *x: f1_max(*x)[0]}
    for name, metric in plain.items():
        values = []

        def noted(scores, truth, metric=metric, values=values):
            # each class is drawn by itself, with repetition
            assert truth.sum() == labels.sum() and truth.size == labels.size
            values.append(metric(scores, truth))
            return values[-1]

        slow = bootstrap(a, labels, noted, draws=50, seed=2)
        np.testing.assert_allclose(resampled(a, labels, draws=50, seed=2)[name], values)
        assert len(set(values)) > 20
        fast = bootstrap(a, labels, name, draws=50, seed=2)
        assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high))
    assert bootstrap(a, labels) == bootstrap(a, labels, level=0.95, draws=1000, seed=0)
    # two heads see the same resamples
    both = resampled(a, labels)["auroc"] - resampled(b, labels)["auroc"]
    alone = resampled(a, labels)["auroc"] - resampled(b, labels, seed=1)["auroc"]
    assert both.std() < 0.9 * alone.std()
    assert both.std() == pytest.approx(delong(a, b, labels).error, rel=0.15)


def test_intervals_hold_the_truth():
    rng = np.random.default_rng(5)
    truth = norm.cdf(1 / np.sqrt(2.5))  # of study's scores: each has the variance 1.25
    held = []
    for seed in range(300):
        a, _, labels = study(rng, 90)
        values = resampled(a, labels, draws=300, seed=seed)["auroc"]
        found = [interval(values, level) for level in (0.95, 0.6)]
        held.append([one.low <= truth <= one.high for one in found])
    wide, narrow = np.mean(held, axis=0)
    assert 0.91 < wide < 0.98 and 0.52 < narrow < 0.68


def test_large_sets_are_resampled_part_by_part(monkeypatch):
    a, _, labels = study(np.random.default_rng(6))
    whole = resampled(a, labels, draws=20)["ap"]
    monkeypatch.setattr("vlad.metrics.significance._ROOM", 7 * labels.size)
    parts = resampled(a, labels, draws=20)["ap"]
    assert parts.shape == whole.shape and len(set(parts)) > 15


def test_separated_scores_have_no_width():
    labels = np.arange(10) < 4
    found = bootstrap(labels * 1.0, labels)
    assert (found.low, found.high) == (1, 1)
    middle = interval(np.arange(101)[::-1], 0.9)
    assert (middle.low, middle.high) == pytest.approx((5, 95))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: delong([1, 2, 3], [1, 2, 3], [0, 0, 0]), "no image is anomalous"),
        (lambda: delong([1, 2, 3], [1, 2, 3], [1, 0, 0]), "1 anomalous, 2 normal images"),
        (lambda: delong([1, 2], [1, 2, 3], [1, 0, 0]), "same shape"),
        (lambda: delong([1, 2, np.nan], [1, 2, 3], [1, 0, 0]), "NaN"),
        (lambda: delong([[1, 2], [1]], [1, 2, 3], [1, 0, 0]), "one shape"),
        (lambda: delong(np.empty((0, 3)), [1, 2, 3], [1, 0, 0]), "holds no scores"),
        (lambda: bootstrap([1, 2], [1, 1]), "no image is normal"),
        (lambda: bootstrap([1, 2], [1, 1], auroc), "no image is normal"),
        (lambda: bootstrap([1, 2], [1, 0], "aupro"), "choose from auroc, ap, f1_max"),
        (lambda: bootstrap([1, 2], [1, 0], level=1.0), "level is 1.0"),
        (lambda: bootstrap([1, 2], [1, 0], draws=0), "draws is 0"),
        (lambda: bootstrap([1, 2], [-1, 0]), "negative"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(InputError, match=words):
        call()
