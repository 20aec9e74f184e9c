"""Scores of several columns as one."""

import numpy as np
import pytest

from vlad.time import combine, scale_of
from vlad.time.combined import scaled


def test_the_larger_of_the_scaled_columns():
    normal = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 100.0])  # one of them is no measure of the rest
    middle, unit = scale_of(normal)
    assert middle == 3.5 and unit == pytest.approx((4.75 - 2.25) / 1.349)
    scales = {"memory": (middle, unit), "motion": (0.5, 0.25)}
    scores = {"memory": np.array([3.5, 3.5 + 4 * unit]), "motion": np.array([1.0, 0.0])}
    assert scaled(scores, scales)["motion"] == pytest.approx([2, -2])
    assert combine({**scores, "other": np.array([9.0, 9.0])}, scales) == pytest.approx([2, 4])
