"""Exact nearest neighbours by blocked matrix products, and greedy coresets."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

from vlad.halfproducts import as_bfloat16, complement, largest_cosine

Metric = Literal["cosine", "squared_l2"]

# entries of one block of the distance matrix: 16 MiB in float32
BLOCK = 1 << 22


def nearest_distance(
    queries: torch.Tensor,
    bank: torch.Tensor,
    metric: Metric = "cosine",
    bfloat16: bool = False,
) -> torch.Tensor:
    """Distance of every query to its nearest bank row; the blocks bound the memory, not the result.

    Args:
        queries: (..., C).
        bank: (M, C) with M ≥ 1.
        metric: "cosine" is 1 − cos, in [0, 2]; "squared_l2" is ‖q − b‖².
        bfloat16: whether cosines are multiplied in bfloat16; squared distances never are.

    Returns:
        (...), in the dtype of the queries.
    """
    shape, q = queries.shape[:-1], queries.reshape(-1, queries.shape[-1])
    rows = max(1, BLOCK // max(1, len(q)))
    blocks = bank.split(rows)
    if metric == "cosine":
        q = F.normalize(q, dim=-1)
        if bfloat16:
            q = complement(as_bfloat16(q))
        best = q.new_full((len(q),), float("-inf"), dtype=torch.float32)
        for block in blocks:
            block = F.normalize(block, dim=-1)
            product = q @ (as_bfloat16(block) if bfloat16 else block).T
            found = largest_cosine(product, 1) if bfloat16 else product.amax(dim=1)
            best = torch.maximum(best, found)
        return (1 - best).clamp_min(0).reshape(shape)
    # ‖q−b‖² = ‖q‖² − 2(q·b − ½‖b‖²); centring keeps the cancellation small
    centre = bank.mean(dim=0)
    q = q - centre
    best = q.new_full((len(q),), float("-inf"))
    for block in blocks:
        block = block - centre
        similarity = torch.addmm(block.square().sum(dim=-1) / -2, q, block.T)
        best = torch.maximum(best, similarity.amax(dim=1))
    return (q.square().sum(dim=-1) - 2 * best).clamp_min(0).reshape(shape)


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
