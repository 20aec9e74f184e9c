"""AnomalyRuler-base against its authors' program."""

import numpy as np
import pytest

from vlad.errors import InputError
from vlad.time import anomalyruler_base


def test_parity(parity):
    case = parity.case("anomalyruler_base")
    found = anomalyruler_base(case["lines"].tolist(), case["keywords"].tolist())
    np.testing.assert_array_equal(found.hits, case["keyword_hit"])
    np.testing.assert_array_equal(found.states, case["state"])
    np.testing.assert_allclose(found.smoothed, case["ema"], atol=1e-12, rtol=0)
    np.testing.assert_allclose(found.scores, case["score"], atol=1e-12, rtol=0)


def test_a_short_video_by_hand():
    found = anomalyruler_base(["a man walks", "a man runs", "a man walks"], ["run", "fight"])
    np.testing.assert_array_equal(found.hits, [0, 1, 0])
    second = 1 / 1.67
    third = 0.67 / (1 + 0.67 + 0.67**2)
    np.testing.assert_allclose(found.smoothed, [0, second, third])
    alpha = (second + third) / 3
    np.testing.assert_array_equal(found.states, [0, 1, 1])
    kept = 1 - alpha
    np.testing.assert_allclose(found.scores, [0, 1 / (1 + kept), (1 + kept) / (1 + kept + kept**2)])


@pytest.mark.parametrize("captions", [["a fight"] * 4, ["a walk"] * 4, []])
def test_a_video_that_is_alike_throughout_scores_nothing(captions):
    assert not anomalyruler_base(captions, ["fight"]).scores.any()


def test_later_captions_change_earlier_scores():
    quiet, loud = ["walk", "run", "walk", "walk"], ["walk", "run", "walk", "run"]
    first, second = (anomalyruler_base(x, ["run"]).scores[2] for x in (quiet, loud))
    assert first != second


@pytest.mark.parametrize("keywords", [[], ["run", " "]])
def test_a_keyword_that_says_nothing_is_refused(keywords):
    with pytest.raises(InputError, match="give at least one, and none empty"):
        anomalyruler_base(["a walk"], keywords)
