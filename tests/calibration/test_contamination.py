"""The share of anomalous images, estimated from unlabelled scores."""

import numpy as np
import pytest

from vlad.calibration import from_unlabelled
from vlad.calibration.contamination import Contamination, _components, contamination
from vlad.errors import InputError


def drawn(rng, n, share, distance, heads=2):
    """Scores of n images by heads that agree on which are anomalous."""
    count = round(n * share)
    normal = rng.normal(size=(n - count, heads))
    return np.concatenate([normal, rng.normal(distance, 1.5, (count, heads))])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.2, 0.3, 0.4])
def test_what_lies_apart_is_counted(rng, share):
    for heads in (1, 3):
        found = contamination(drawn(rng, 200, share, 7, heads))
        assert found.mean == pytest.approx(share, abs=0.02)
        assert found.quantile(0.02) <= share <= found.quantile(0.98)


def test_intervals_hold_the_share_as_often_as_they_say(rng):
    """80 % intervals: 16 of 20 are expected to, fewer by chance."""
    held = 0
    for seed in range(20):
        found = contamination(drawn(np.random.default_rng(seed), 100, 0.1, 6), seed=seed)
        held += found.quantile(0.1) <= 0.1 <= found.quantile(0.9)
    assert held >= 14


@pytest.mark.parametrize("n", [10, 30, 300])
def test_of_normal_images_alone_few_are_anomalous(n):
    means = [
        contamination(np.random.default_rng(seed).normal(size=(n, 2)), seed=seed).mean
        for seed in range(5)
    ]
    assert np.mean(means) < 0.05


def test_each_group_weighs_its_images_and_a_hundredth_of_one(rng):
    # groups so far apart that each image belongs to one: four images, two images, no other group
    scores = np.array([-0.1, 0.0, 0.05, 0.1, 30.0, 30.2])[:, None]
    counts, remote = _components(scores, 0, rng)
    assert sorted(counts) == pytest.approx([2.01, 4.01], abs=1e-3)
    assert remote.shape == (4000, 2)


def test_more_images_know_more(rng):
    widths = []
    for n in (20, 200, 2000):
        found = contamination(drawn(rng, n, 0.2, 7))
        widths.append(found.quantile(0.9) - found.quantile(0.1))
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_scale_and_order_of_images_do_not_matter(rng):
    scores = drawn(rng, 80, 0.15, 5)
    once = contamination(scores, seed=3)
    assert (once.samples == contamination(scores, seed=3).samples).all()
    moved = contamination(rng.permutation(scores) * [1e-4, 700] + [0.3, -40], seed=3)
    assert moved.mean == pytest.approx(once.mean, abs=1e-3)
    assert moved.quantile([0.1, 0.9]) == pytest.approx(once.quantile([0.1, 0.9]), abs=1e-3)
    # far out is far out: how far moves little
    scores[-1] = 1e6
    assert contamination(scores).mean == pytest.approx(once.mean, abs=0.03)


def test_a_head_that_says_nothing_is_left_out(rng):
    scores = drawn(rng, 60, 0.1, 7, heads=1)
    with_constant = np.column_stack([scores, np.full(60, 3.0)])
    assert (contamination(scores).samples == contamination(with_constant).samples).all()


def test_ties_and_few_distinct_scores(rng):
    scores = np.repeat([0.0, 1.0], [90, 10])[:, None]
    assert contamination(scores).mean == pytest.approx(0.1, abs=0.05)
    rounded = contamination(drawn(rng, 100, 0.1, 7).round())
    assert rounded.mean == pytest.approx(0.1, abs=0.03)
    pair = contamination([[0.0], [1.0]])
    assert ((pair.samples >= 0) & (pair.samples <= 1)).all()


def test_the_mean_and_quantiles_are_those_of_the_samples():
    found = Contamination(np.linspace(0, 0.4, 101))
    assert found.mean == pytest.approx(0.2)
    assert found.quantile([0.05, 0.5]) == pytest.approx([0.02, 0.2])


def test_the_threshold_lets_the_share_through(rng):
    scores = drawn(rng, 100, 0.2, 7)
    found = from_unlabelled({"a": scores[:, 0], "b": scores[:, 1]}, seed=5)
    expected = contamination(scores, seed=5)
    assert found.share["mean"] == expected.mean
    assert found.share["low"] == expected.quantile(0.05)
    for name, column in (("a", 0), ("b", 1)):
        passing = (scores[:, column] > found.thresholds[name]).sum()
        assert passing == int(expected.mean * 100 + 0.5)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (np.ones((20, 2)), "all 20 have the same score"),
        (np.ones((1, 2)), "2 or more images"),
        (np.arange(20.0), "2 or more images"),
        ([[0.0], [np.nan], [1.0]], "give finite ones"),
    ],
)
def test_bad_input_is_one_sentence(scores, words):
    with pytest.raises(InputError, match=words):
        contamination(scores)
