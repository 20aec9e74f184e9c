"""Where a source was away."""

import numpy as np
import pytest

from vlad.time import default_gap, pieces


def test_a_long_step_and_a_step_backwards_cut():
    seconds = [0, 1, 2, 7, 8, 3, 4]
    assert pieces(seconds, 2.0) == [slice(0, 3), slice(3, 5), slice(5, 7)]
    assert pieces(seconds, 5.0) == [slice(0, 5), slice(5, 7)]
    assert pieces([], 1.0) == [] and pieces([3.0], 1.0) == [slice(0, 1)]


def test_ten_usual_steps_are_a_gap():
    assert default_gap(np.arange(20) / 2) == pytest.approx(5.0)
    assert default_gap(np.array([0, 1, 2, 3, 500.0])) == pytest.approx(10.0)
    # at 25 frames a second a stall of half a second is none
    assert default_gap(np.arange(20) / 25) == 1.0
    assert default_gap(np.array([4.0])) == 1.0
