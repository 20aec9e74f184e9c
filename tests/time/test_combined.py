"""Scores of several columns as one."""

import numpy as np
import pytest

from vlad.time import combine, scale_of
from vlad.time.combined import scaled


def test_the_larger_of_the_scaled_columns():
    assert scale_of(np.array([1.0, 3.0, 3.0, 5.0])) == pytest.approx((3, np.sqrt(2)))
    scales = {"memory": (3.0, 2.0), "motion": (0.5, 0.25)}
    scores = {"memory": np.array([3.0, 11.0]), "motion": np.array([1.0, 0.0])}
    assert scaled(scores, scales)["motion"] == pytest.approx([2, -2])
    assert combine({**scores, "other": np.array([9.0, 9.0])}, scales) == pytest.approx([2, 4])


def test_footage_that_does_not_change_has_a_scale():
    mean, deviation = scale_of(np.full(5, 0.25))
    assert mean == 0.25 and 0 < deviation < 1e-5


def test_rounding_in_a_column_that_does_not_change_does_not_lead():
    scales = {"motion": scale_of(0.25 + 3e-8 * np.array([0, 1, -1, 0, 1]))}
    rounded = {"motion": np.array([0.25 - 6e-8, 0.25 + 6e-8])}
    assert np.abs(scaled(rounded, scales)["motion"]).max() < 1
