"""k-means: vectors that stand for many rows."""

from __future__ import annotations

import torch

BLOCK = 1 << 14  # rows whose distances are held at once
STEPS = 100  # at most; it stops once no mean moves


def kmeans(rows: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """(N, C) rows -> (K, C) means of K ≤ `count` groups, by Lloyd's steps.

    The first means are rows drawn one by one, each with a chance in proportion to its squared
    distance from those drawn before (Arthur and Vassilvitskii, 2007). There are fewer than `count`
    if there are fewer different rows. A group that no row is nearest to keeps its mean.

    Args:
        rows: N ≥ 1, without NaN or infinity.
        seed: of the draws.
    """
    means = _drawn(rows, count, torch.Generator().manual_seed(seed))
    for _ in range(STEPS):
        sums, sizes = torch.zeros_like(means), means.new_zeros(len(means))
        for block in rows.split(BLOCK):
            own = torch.nn.functional.one_hot(
                squared_distances(block, means).argmin(dim=1), len(means)
            ).to(rows.dtype)
            sums += own.T @ block
            sizes += own.sum(dim=0)
        moved = torch.where(sizes[:, None] > 0, sums / sizes.clamp_min(1)[:, None], means)
        if torch.equal(moved, means):
            break
        means = moved
    return means


def squared_distances(rows: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """(..., C) rows -> (..., K) squared distances to (K, C) means."""
    squares = rows.square().sum(dim=-1, keepdim=True) + means.square().sum(dim=-1)
    return (squares - 2 * (rows @ means.T)).clamp_min(0)


def _drawn(rows: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    place = int(torch.randint(len(rows), (), generator=generator))
    places, left = [place], (rows - rows[place]).square().sum(dim=1).double()
    while len(places) < count and left.max() > 0:
        share = torch.rand((), dtype=torch.float64, generator=generator).item()
        ends = left.cumsum(dim=0)
        place = min(int((ends <= share * ends[-1]).sum()), len(rows) - 1)
        places.append(place)
        left = torch.minimum(left, (rows - rows[place]).square().sum(dim=1).double())
    return rows[places]
