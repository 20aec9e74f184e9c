"""Attention of tokens by the cosine of their values, within windows of the grid."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F

LARGEST_SCALE = math.log(100)
SPAN = 8.0  # relative positions are scaled to it before the logarithm
LARGEST_BIAS = 16.0


def sides_of(grid: tuple[int, int], window: int) -> tuple[int, int]:
    """Sides of equal windows, none above `window`, of which the fewest cover a grid.

    Where they do not divide the grid, those at its far edges are partly empty.
    """
    height, width = (math.ceil(n / math.ceil(n / window)) for n in grid)
    return height, width


def cut(x: torch.Tensor, sides: tuple[int, int]) -> torch.Tensor:
    """(B, h, w, C) -> (B, rows, columns, h', w', C) windows, filled with zeros at the far edges."""
    height, width = sides
    over = -x.shape[2] % width, -x.shape[1] % height
    x = F.pad(x, (0, 0, 0, over[0], 0, over[1]))
    return x.unflatten(2, (-1, width)).unflatten(1, (-1, height)).transpose(2, 3)


def joined(windows: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(B, rows, columns, h', w', C) windows -> (B, h, w, C), without what filled them."""
    whole = windows.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return whole[:, : grid[0], : grid[1]]


@cache
def _relative(sides: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """(P, 2) relative positions on a logarithmic scale, and the (N, N) row of each pair of N."""
    steps = [torch.arange(-(n - 1), n, dtype=torch.float32) / max(1, n - 1) for n in sides]
    table = SPAN * torch.cartesian_prod(*steps)
    y, x = (part.flatten() for part in torch.meshgrid(*map(torch.arange, sides), indexing="ij"))
    row, column = (p[:, None] - p + n - 1 for p, n in zip((y, x), sides, strict=True))
    logarithm = table.sign() * (table.abs() + 1).log2() / math.log2(SPAN)
    return logarithm, row * (2 * sides[1] - 1) + column


def position_bias(
    sides: tuple[int, int],
    hidden: tuple[torch.Tensor, torch.Tensor],
    out: torch.Tensor,
) -> torch.Tensor:
    """(H, N, N) bias between the N tokens of a window, in (0, 16), by a small network.

    Args:
        hidden: weight (P, 2) and bias (P,) of its first layer.
        out: weight (H, P) of its second.
    """
    table, index = (x.to(out.device, non_blocking=True) for x in _relative(sides))
    found = F.linear(F.relu(F.linear(table, *hidden)), out)
    return LARGEST_BIAS * found[index].movedim(-1, 0).sigmoid()


def attend(
    values: torch.Tensor,
    grid: tuple[int, int],
    sides: tuple[int, int],
    scale: torch.Tensor,
    bias: torch.Tensor,
    dropout: float = 0.0,
) -> torch.Tensor:
    """(B, h·w, C) mean of the values of a window for each of its tokens, by their cosines.

    Args:
        values: (B, h·w, C).
        sides: of the windows.
        scale: (H, 1, 1) logarithm of what the cosines are multiplied with.
        bias: (H, N, N) from `position_bias`.
        dropout: share of the weights that is left out at random.
    """
    windows = cut(values.unflatten(1, grid), sides)
    v = windows.flatten(3, 4).unflatten(-1, (len(scale), -1)).transpose(3, 4)
    unit = F.normalize(v, dim=-1)
    logits = unit @ unit.mT * scale.clamp(max=LARGEST_SCALE).exp() + bias
    if v.shape[1] * sides[0] > grid[0] or v.shape[2] * sides[1] > grid[1]:
        there = cut(values.new_ones(1, *grid, 1), sides).flatten(3)
        logits = logits.masked_fill(there[:, :, :, None, None] == 0, -math.inf)
    weights = logits.softmax(dim=-1)
    mixed = (F.dropout(weights, dropout) if dropout else weights) @ v
    whole = joined(mixed.transpose(3, 4).flatten(4).unflatten(3, sides), grid)
    return whole.flatten(1, 2)
