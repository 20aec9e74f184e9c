"""F1 at a fixed threshold, against a loop over pixels."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from vlad.errors import InputError
from vlad.metrics import SegF1, f1_max, seg_f1


def by_pixels(maps, masks, threshold):
    hits = alarms = missed = 0
    for score, label in zip(maps.ravel(), masks.ravel(), strict=True):
        hits += bool(score > threshold and label)
        alarms += bool(score > threshold and not label)
        missed += bool(score <= threshold and label)
    return 2 * hits / (2 * hits + alarms + missed)


@pytest.mark.parametrize("seed", range(10))
def test_as_counted_pixel_by_pixel_in_any_batches(seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((6, 8, 5)) < 0.2
    # few distinct values, so that some equal the threshold
    maps = np.round(rng.normal(masks, 1), 1).astype(np.float32)
    threshold = float(rng.choice(maps.ravel()))
    value = seg_f1(maps, masks, threshold)
    assert value == by_pixels(maps, masks, threshold)
    assert value == pytest.approx(f1_score(masks.ravel(), (maps > threshold).ravel()), abs=1e-12)
    parts = SegF1(threshold).update(maps[:1], masks[:1]).update(maps[1:], masks[1:])
    assert parts.compute() == value


def test_never_above_the_best_threshold():
    rng = np.random.default_rng(0)
    masks = rng.random((3, 9, 9)) < 0.3
    maps = rng.normal(masks, 1)
    best, at = f1_max(maps, masks)
    values = [seg_f1(maps, masks, t) for t in np.linspace(-3, 3, 50)]
    assert max(values) <= best
    assert seg_f1(maps, masks, np.nextafter(at, -np.inf)) == pytest.approx(best)


def test_nothing_flagged_and_nothing_anomalous():
    masks = np.zeros((1, 4, 4), bool)
    with pytest.warns(UserWarning, match="SegF1 is undefined"):
        assert np.isnan(seg_f1(np.ones((1, 4, 4)), masks, 0.5))
    masks[0, 1, 1] = True
    assert seg_f1(np.zeros((1, 4, 4)), masks, 0.5) == 0


def test_wrong_shapes_are_told():
    with pytest.raises(InputError, match="give the same shape"):
        seg_f1(np.zeros((1, 4, 4)), np.zeros((1, 4, 5)), 0.5)
