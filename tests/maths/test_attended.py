"""Masks by attention: against plain versions."""

import numpy as np
import pytest
import torch

from vlad.maths.attended import attended

ATTENTION = torch.rand(3, 64, generator=torch.Generator().manual_seed(0)) ** 3


def test_the_15_percent_attended_to_least_are_off_the_object():
    for kept, one in zip(attended(ATTENTION, "rank"), ATTENTION.numpy(), strict=True):
        np.testing.assert_array_equal(kept, one >= np.quantile(one, 0.15))
        assert kept.sum() == 54


def otsu(levels):
    """The level that parts them with the largest variance between both parts, tried one by one."""

    def between(level):
        low, high = levels[levels <= level], levels[levels > level]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(high) else 0

    return max(range(int(levels.min()), 256), key=between)


def test_otsu():
    for kept, one in zip(attended(ATTENTION, "otsu"), ATTENTION.numpy(), strict=True):
        levels = ((one - one.min()) / (one.max() - one.min()) * 255).astype(np.uint8)
        np.testing.assert_array_equal(kept, levels > otsu(levels))


@pytest.mark.parametrize("rule", ["rank", "otsu"])
def test_an_image_that_tells_nothing_is_all_object(rule):
    known = ATTENTION.clone()
    known[0], known[1] = 0.5, float("nan")
    found = attended(known, rule)
    assert found[:2].all() and not found[2].all()
