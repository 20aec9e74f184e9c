"""Whitened rows vary alike in all directions that are kept."""

import pytest
import torch
from memory_plain import whitened

from vlad.maths.moments import Moments
from vlad.maths.whitening import whitening

WIDTHS = torch.tensor([5.0, 2.0, 1.0, 0.3, 0.001])


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator))
    return (torch.randn(4000, 5, generator=generator) * WIDTHS) @ turn + 7


def test_kept_directions_vary_by_one_and_not_together(rows):
    mean, axes = whitening(Moments.of(rows))
    # 25, 4 and 1 of 30.09: two of them hold 96 %, three 99.7 %
    assert axes.shape == (5, 3)
    found = (rows - mean) @ axes
    torch.testing.assert_close(found.T.cov(), torch.eye(3), atol=2e-2, rtol=0)
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("count", [3, 4, 20, 4000])
def test_as_a_plain_version_has_it(rows, count):
    mean, axes = whitening(Moments.of(rows[:count]))
    found = (rows[-5:] - mean) @ axes
    expected = whitened(rows[:count].double(), rows[-5:].double())[0]
    assert found.shape == expected.shape
    # directions may point either way
    torch.testing.assert_close(found.abs(), expected.abs().float(), atol=1e-4, rtol=1e-3)


def test_variances_of_few_rows_are_shrunk_towards_each_other(rows):
    mean, axes = whitening(Moments.of(rows[:6]))
    spread = ((rows[:6] - mean) @ axes).square().mean(dim=0)
    assert spread[0] > 1.02 and spread.min() < 0.98
