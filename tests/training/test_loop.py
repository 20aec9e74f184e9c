"""The parts of the training loop that have no command of their own."""

from dataclasses import replace

import pytest
import torch

from vlad.training.feed import Place
from vlad.training.loop import random_from, rate_after
from vlad.training.recipe import load_recipe


def test_the_rate_falls_after_a_plateau():
    optimiser = replace(load_recipe("sowa").optimiser, plateau=2)
    assert rate_after(optimiser, []) == 1e-3
    assert rate_after(optimiser, [3.0, 2.0, 2.0, 2.1]) == 1e-3
    assert rate_after(optimiser, [3.0, 2.0, 2.0, 2.1, 2.0]) == pytest.approx(1e-4)
    assert rate_after(optimiser, [3.0, 2.0, 2.0, 2.1, 1.9, 1.9]) == 1e-3


def test_what_is_random_follows_from_seed_and_place():
    def drawn(seed, position, epoch=0):
        with random_from(seed, Place(0, 0, epoch, position)):
            return torch.rand(4)

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one = drawn(1, 8)
    assert torch.equal(torch.rand(2), expected)  # the caller's own stream goes on
    assert torch.equal(drawn(1, 8), one)
    others = [drawn(2, 8), drawn(1, 9), drawn(1, 8, epoch=1)]
    assert not any(torch.equal(one, other) for other in others)
