"""The threshold of pixels, against all values at once."""

import math

import numpy as np
import pytest

from vlad.calibration.pixels import PixelSpread


@pytest.mark.parametrize("seed", range(5))
def test_as_from_all_pixels_at_once(seed):
    rng = np.random.default_rng(seed)
    # far from zero, where sums of squares would lose digits
    maps = [1e4 + rng.random(rng.integers(1, 30, 2)).astype(np.float32) for _ in range(7)]
    spread = PixelSpread()
    for one in maps:
        spread.add(one)
    every = np.concatenate([one.ravel() for one in maps]).astype(float)
    assert spread.count == every.size
    assert spread.mean == pytest.approx(every.mean(), rel=1e-12)
    assert spread.deviation == pytest.approx(every.std(), rel=1e-9)
    assert spread.threshold == pytest.approx(every.mean() + 3 * every.std(), rel=1e-12)


def test_without_maps_there_is_none():
    assert math.isnan(PixelSpread().threshold)
