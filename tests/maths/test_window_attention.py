"""Attention within windows, compared with the same written out for one window."""

import math

import pytest
import torch
import torch.nn.functional as F

from vlad.maths.window_attention import attend, cut, joined, position_bias, sides_of


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ((24, 24), (12, 12)),
        ((8, 8), (8, 8)),
        ((16, 16), (8, 8)),
        ((15, 15), (8, 8)),
        ((37, 13), (10, 7)),
        ((1, 12), (1, 12)),
    ],
)
def test_windows_are_equal_and_as_few_as_can_be(grid, expected):
    assert sides_of(grid, 12) == expected


@pytest.mark.parametrize(("grid", "sides"), [((6, 4), (3, 2)), ((5, 7), (3, 4))])
def test_windows_join_to_the_grid(grid, sides):
    x = torch.arange(2.0 * 3 * grid[0] * grid[1]).reshape(2, *grid, 3)
    windows = cut(x, sides)
    assert torch.equal(windows[:, 0, 0], x[:, : sides[0], : sides[1]])
    assert torch.equal(windows[:, 1, 0, 0, 0], x[:, sides[0], 0])
    assert torch.equal(joined(windows, grid), x)


def network():
    random = torch.Generator().manual_seed(0)
    first = [torch.randn(shape, generator=random) for shape in ((5, 2), (5,))]
    return (first[0], first[1]), torch.randn(2, 5, generator=random)


def test_bias_depends_on_the_logarithm_of_relative_positions():
    (weight, shift), out = network()
    found = position_bias((3, 3), (weight, shift), out)
    # from the first token to the last: two steps up and left, the farthest
    place = torch.tensor([-1.0, -1.0]) * math.log2(9) / math.log2(8)
    expected = 16 * (out @ F.relu(weight @ place + shift)).sigmoid()
    torch.testing.assert_close(found[:, 0, 8], expected)
    # from the middle one step right: half as far
    place = torch.tensor([0.0, -1.0]) * math.log2(5) / math.log2(8)
    torch.testing.assert_close(
        found[:, 4, 5], 16 * (out @ F.relu(weight @ place + shift)).sigmoid()
    )
    assert position_bias((1, 1), (weight, shift), out).isfinite().all()


@pytest.mark.parametrize("grid", [(4, 6), (3, 5)])
def test_tokens_attend_to_those_of_their_window_that_are_there(grid):
    random = torch.Generator().manual_seed(1)
    x = torch.randn(2, grid[0] * grid[1], 8, generator=random)
    sides, scale = (2, 3), torch.tensor([[[1.0]], [[9.0]]])  # the second is cut at ln 100
    bias = position_bias(sides, *network())
    found = attend(x, grid, sides, scale, bias).unflatten(1, grid)
    values = x.unflatten(1, grid)
    for y in range(0, grid[0], 2):
        for z in range(0, grid[1], 3):
            window = values[:, y : y + 2, z : z + 3]
            height, width = window.shape[1:3]
            there = [3 * i + j for i in range(height) for j in range(width)]
            v = window.flatten(1, 2).unflatten(2, (2, 4)).transpose(1, 2)
            unit = F.normalize(v, dim=-1)
            logits = unit @ unit.mT * torch.tensor([math.e, 100.0])[:, None, None]
            logits = logits + bias[:, there][:, :, there]
            mixed = (logits.softmax(dim=-1) @ v).transpose(1, 2).reshape(window.shape)
            torch.testing.assert_close(found[:, y : y + 2, z : z + 3], mixed)


def test_dropout_leaves_out_a_share_and_keeps_the_mean():
    torch.manual_seed(0)
    x, scale = torch.ones(1, 64, 2), torch.zeros(2, 1, 1)
    one = [torch.zeros(5, 2), torch.zeros(5)]
    bias = position_bias((8, 8), (one[0], one[1]), torch.zeros(2, 5))
    found = attend(x.expand(50, -1, -1), (8, 8), (8, 8), scale, bias, dropout=0.5)
    assert found.std() > 0.05
    assert found.mean().item() == pytest.approx(1, abs=0.02)
