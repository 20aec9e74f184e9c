"""Parts of a score: what each cell adds to it, and the worst cell of a region."""

from __future__ import annotations

from collections.abc import Callable

import torch


def parts_of(pool: Callable[[torch.Tensor], torch.Tensor], cells: torch.Tensor) -> torch.Tensor:
    """What each value adds to `pool(values)`; the parts sum to it.

    That holds for maxima, means, sums, linear maps and all that is made of them, where doubled
    values double the result (Euler's theorem on homogeneous functions). A part is a value times its
    weight in the result.

    Args:
        pool: values -> scores, with gradients.
        cells: values of any shape.
    """
    # outside of inference mode, in which nothing has a gradient
    with torch.inference_mode(False), torch.enable_grad():
        values = cells.detach().clone().requires_grad_()
        (weights,) = torch.autograd.grad(pool(values).sum(), values)
    return cells * weights


def by_cell(pixels: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(B, H, W) parts of pixels -> (B, h·w): their sums over the cells of a grid."""
    down, across = (
        torch.arange(side, device=pixels.device) * few // side
        for side, few in zip(pixels.shape[1:], grid, strict=True)
    )
    places = (down[:, None] * grid[1] + across).flatten().expand(len(pixels), -1)
    found = pixels.new_zeros(len(pixels), grid[0] * grid[1])
    return found.scatter_add_(1, places, pixels.flatten(1))


def worst_cells(values: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """(N,) values and (R, N) bool regions -> (R,): the place of the largest value of each."""
    return torch.where(regions, values, -torch.inf).argmax(dim=1)
