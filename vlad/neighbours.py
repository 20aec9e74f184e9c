"""Exact nearest neighbours by blocked matrix products, and greedy coresets."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

Metric = Literal["cosine", "squared_l2"]

# entries of one block of the distance matrix: 64 MiB in float32
BLOCK = 1 << 24


def nearest_distance(
    queries: torch.Tensor, bank: torch.Tensor, metric: Metric = "cosine"
) -> torch.Tensor:
    """Distance of every query to its nearest bank row; the blocks bound the memory, not the result.

    Args:
        queries: (..., C).
        bank: (M, C) with M ≥ 1.
        metric: "cosine" is 1 − cos, in [0, 2]; "squared_l2" is ‖q − b‖².

    Returns:
        (...), in the dtype of the queries.
    """
    shape, q = queries.shape[:-1], queries.reshape(-1, queries.shape[-1])
    if metric == "cosine":
        q, bank = F.normalize(q, dim=-1), F.normalize(bank, dim=-1)
        offset = bank.new_zeros(len(bank))
    else:
        # ‖q−b‖² = ‖q‖² − 2(q·b − ½‖b‖²); centring keeps the cancellation small
        centre = bank.mean(dim=0)
        q, bank = q - centre, bank - centre
        offset = bank.square().sum(dim=-1) / 2
    best = q.new_full((len(q),), float("-inf"))
    rows = max(1, BLOCK // max(1, len(q)))
    for start in range(0, len(bank), rows):
        block = slice(start, start + rows)
        similarity = torch.addmm(-offset[block], q, bank[block].T)
        best = torch.maximum(best, similarity.amax(dim=1))
    distance = 1 - best if metric == "cosine" else q.square().sum(dim=-1) - 2 * best
    return distance.clamp_min(0).reshape(shape)


def greedy_coreset(rows: torch.Tensor, size: int) -> torch.Tensor:
    """Indices (size,) of rows that cover all others: each is the farthest from those before it.

    The exact greedy k-centre of PatchCore (Roth et al. 2022, algorithm 1) in Euclidean distance,
    started from the row farthest from the mean, hence without randomness.
    """
    norms = rows.square().sum(dim=-1)
    centre = rows.mean(dim=0)
    distance = norms - 2 * (rows @ centre)
    chosen = distance.argmax().reshape(1)
    distance = torch.full_like(norms, float("inf"))
    while len(chosen) < size:
        newest = rows[chosen[-1]]
        to_newest = norms - 2 * (rows @ newest) + newest.square().sum()
        distance = torch.minimum(distance, to_newest)
        distance[chosen[-1]] = float("-inf")
        chosen = torch.cat([chosen, distance.argmax().reshape(1)])
    return chosen
