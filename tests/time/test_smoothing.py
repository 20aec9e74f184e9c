"""Smoothed scores against a slow plain version, over uneven time stamps."""

import math

import numpy as np
import pytest

from vlad.errors import InputError
from vlad.time import Smoothing

GAP = 2.0


def plain(kind, width, seconds, scores):
    """Each score as the weighted mean that the docstring states."""
    found = []
    for i, now in enumerate(seconds):
        total = weight = 0.0
        for j, then in enumerate(seconds):
            between = range(min(i, j), max(i, j))
            if any(not 0 <= seconds[k + 1] - seconds[k] <= GAP for k in between):
                continue
            if kind == "ewma":
                factor = math.exp(-(now - then) / width) if j <= i else 0.0
            else:
                far = abs(now - then) / width
                factor = math.exp(-(far**2) / 2) if far <= 4 else 0.0
            total, weight = total + factor * scores[j], weight + factor
        found.append(total / weight)
    return found


@pytest.fixture
def uneven():
    generator = np.random.default_rng(0)
    steps = generator.choice([0.0, 0.04, 0.1, 0.7, 5.0], 150, p=[0.1, 0.4, 0.3, 0.17, 0.03])
    steps[80] = -3.0
    assert (steps > GAP).any()
    return np.cumsum(steps), generator.random(150)


@pytest.mark.parametrize("kind", ["ewma", "gaussian"])
@pytest.mark.parametrize("width", [0.05, 0.5, 20.0])
def test_a_weighted_mean_of_the_frames_around(kind, width, uneven):
    found = Smoothing(kind, width)(*uneven, GAP)
    assert found == pytest.approx(plain(kind, width, *uneven), abs=1e-12)


def test_ewma_knows_no_later_frame_and_gaussian_does(uneven):
    seconds, scores = uneven
    later = scores.copy()
    later[60:] = 9.0
    for kind, same in (("ewma", True), ("gaussian", False), ("none", True)):
        smoothing = Smoothing(kind, 0.5)
        found = [smoothing(seconds, x, GAP)[:60] for x in (scores, later)]
        assert np.array_equal(*found) is same


def test_none_leaves_scores_as_they_are(uneven):
    assert np.array_equal(Smoothing.of("none")(*uneven, GAP), uneven[1])


def test_written_and_read():
    assert Smoothing.of("gaussian=1.5") == Smoothing("gaussian", 1.5)
    assert str(Smoothing.of("ewma=0.2")) == "ewma=0.2" and str(Smoothing()) == "none"
    assert "causal" in Smoothing.of("ewma=2").sentence and "2 s" in Smoothing.of("ewma=2").sentence


@pytest.mark.parametrize(
    "text", ["mean=1", "ewma", "ewma=0", "gaussian=-1", "gaussian=x", "ewma=nan", "ewma=inf", "1"]
)
def test_another_way_is_refused(text):
    with pytest.raises(InputError, match="is not a way to smooth scores; write none, ewma="):
        Smoothing.of(text)
