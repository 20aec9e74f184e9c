"""Exact metrics of batches iterated twice, against those of the whole in memory."""

import warnings

import numpy as np
import pytest
from scipy import ndimage

import vlad.metrics.batches
from vlad.errors import InputError
from vlad.metrics import evaluate, evaluate_batches


def drawn(seed, n=12, size=(40, 30)):
    rng = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(rng.random((n, *size)), (0, 2, 2)) > 0.56
    masks[::3] = False
    maps = np.round(rng.random(masks.shape) + 0.5 * masks, 2).astype(np.float32)
    return maps, masks


def pixel_part(maps, masks, limit):
    found = evaluate(np.zeros(len(maps)), masks.any((1, 2)), maps, masks, limit=limit)
    return {name: value for name, value in found.items() if not name.startswith("image")}


@pytest.mark.parametrize("size", [1, 5, 12])
@pytest.mark.parametrize("together", [1, 5000, 1 << 23])
@pytest.mark.parametrize("limit", [0.3, 0.05])
def test_the_same_as_in_memory(monkeypatch, size, together, limit):
    monkeypatch.setattr(vlad.metrics.batches, "SORTED", together)
    maps, masks = drawn(0)
    batches = [(maps[i : i + size], masks[i : i + size]) for i in range(0, 12, size)]
    found = evaluate_batches(batches, limit=limit)
    assert found == pytest.approx(pixel_part(maps, masks, limit), abs=1e-12)


def test_images_of_several_sizes():
    # two images side by side, cut between their defects, are one larger image
    maps, masks = drawn(1)
    masks[:, :, 14:16] = False
    batches = [
        part
        for i in range(12)
        for part in (
            (maps[i : i + 1, :, :15], masks[i : i + 1, :, :15]),
            (maps[i : i + 1, :, 15:], masks[i : i + 1, :, 15:]),
            (maps[i : i + 1, :7, :0], masks[i : i + 1, :7, :0]),
        )
    ]
    assert evaluate_batches(batches) == pytest.approx(pixel_part(maps, masks, 0.3), abs=1e-12)


def test_without_a_class_there_is_nothing_to_measure():
    maps, masks = drawn(2)
    for truth, missing in ((masks[:1] & False, "anomalous"), (masks[:1] | True, "normal")):
        with pytest.warns(UserWarning, match=f"nothing is {missing}") as caught:
            found = evaluate_batches([(maps[:1], truth)])
        assert np.isnan(list(found.values())).all()
        assert [warning.filename for warning in caught] == [__file__]


def test_what_can_be_walked_through_but_once_is_refused():
    maps, masks = drawn(3)
    with pytest.raises(InputError, match="iterated twice"), warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate_batches(iter([(maps, masks)]))
    with pytest.raises(InputError, match="limit"):
        evaluate_batches([(maps, masks)], limit=0)
