"""Patch tokens averaged over their neighbourhoods: LNAMD of MuSc and SNAMD of MuSc-V2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def lnamd(tokens: torch.Tensor, grid: tuple[int, int], side: int) -> torch.Tensor:
    """(B, h·w, C) tokens -> unit vectors of their side×side neighbourhoods.

    Each image is normalised as a whole. The authors' adaptive pooling of the unfolded neighbourhood
    equals the mean of each channel over it, including zeros beyond the border.
    """
    x = F.layer_norm(tokens, tokens.shape[1:])
    if side > 1:
        image = x.transpose(1, 2).unflatten(2, grid)
        x = F.avg_pool2d(image, side, stride=1, padding=side // 2).flatten(2).transpose(1, 2)
    return F.normalize(x, dim=-1)


def snamd(tokens: torch.Tensor, grid: tuple[int, int], sides: Sequence[int]) -> torch.Tensor:
    """(B, h·w, C) tokens -> unit vectors of the mean of their side×side neighbourhoods.

    A neighbour weighs exp(−its Euclidean distance to the patch); zeros beyond the border are
    neighbours too. Each mean, their mean over the sides and its length are in half precision, as in
    the authors' program.
    """
    (rows, columns), channels = grid, tokens.shape[-1]
    image = tokens.unflatten(1, grid)
    means = []
    for side in sides:
        reach = side // 2
        padded = F.pad(image, (0, 0, reach, reach, reach, reach))
        total, weights = torch.zeros_like(image), image.new_zeros(*image.shape[:3], 1)
        for down in range(side):
            for right in range(side):
                near = padded[:, down : down + rows, right : right + columns]
                weight = (near - image).norm(dim=-1, keepdim=True).neg().exp()
                total += weight * near
                weights += weight
        means.append((total / weights).half())
    unit = F.normalize(torch.stack(means).mean(dim=0), dim=-1, eps=1e-6)
    return unit.float().reshape(-1, rows * columns, channels)


def lifted(rows: torch.Tensor) -> torch.Tensor:
    """(..., C) vectors about 1 long -> (..., C + 1) unit vectors at 1/√2 of their distances.

    Half precision leaves lengths wrong by up to 5e-4, and the authors of MuSc-V2 take Euclidean
    distances: the cosines of the lifted vectors give exactly these.
    """
    height = (3 - rows.square().sum(dim=-1, keepdim=True)) / 2
    return torch.cat([rows, height], dim=-1) * 0.5**0.5
