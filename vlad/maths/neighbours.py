"""Exact nearest neighbours by blocked matrix products, and greedy coresets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F

from vlad.maths.precision import as_bfloat16, complement, largest_cosine
from vlad.system.room import entries

Metric = Literal["cosine", "squared_l2"]

# entries of one block of the distance matrix, 8 MiB in float32; on a GPU more
BLOCK = 1 << 21
# rows converted to bfloat16 at once
CONVERTED = 1 << 14


class Bank:
    """Rows prepared for distances to many queries; blocks bound the memory of a search.

    Args:
        rows: (M, C) with M ≥ 1; of unit length if the metric is the cosine.
        metric: "cosine" is 1 − cos, in [0, 2]; "squared_l2" is ‖q − b‖².
        bfloat16: whether cosines are computed in bfloat16; squared distances never are.
    """

    def __init__(self, rows: torch.Tensor, metric: Metric = "cosine", bfloat16: bool = False):
        self.metric = metric
        self.half = bfloat16 and metric == "cosine"
        self._rows, self._offsets = rows, None
        if metric == "squared_l2":
            # ‖q−b‖² = ‖q‖² − 2(q·b − ½‖b‖²); centring keeps the cancellation small
            self._centre = rows.mean(dim=0)
            self._rows = rows - self._centre
            self._offsets = self._rows.square().sum(dim=-1) / -2
        elif self.half:
            self._rows = torch.cat([as_bfloat16(part) for part in rows.split(CONVERTED)])

    def nearest(self, queries: torch.Tensor, barred: torch.Tensor | None = None) -> torch.Tensor:
        """Distance of each query (..., C) to its nearest row: (...), in float32.

        Args:
            barred: (M, N) bool, the rows that each of the N queries is not compared with.
        """
        shape, q = queries.shape[:-1], queries.reshape(-1, queries.shape[-1])
        q = F.normalize(q, dim=-1) if self._offsets is None else q - self._centre
        ready = complement(as_bfloat16(q)) if self.half else q
        best = q.new_full((len(q),), float("-inf"), dtype=torch.float32)
        size = max(1, entries(q.device, BLOCK) // max(1, len(q)))
        for at in range(0, len(self._rows), size):
            # rows first: with few queries, this product is faster than its transpose
            product = self._product(slice(at, at + size), ready.T)
            if barred is not None:
                # in bfloat16 they are distances
                least = float("inf" if self.half else "-inf")
                product = product.masked_fill_(barred[at : at + size], least)
            found = largest_cosine(product, 0) if self.half else product.amax(dim=0)
            best = torch.maximum(best, found)
        distance = 1 - best if self._offsets is None else q.square().sum(dim=-1) - 2 * best
        return distance.clamp_min(0).reshape(shape)

    def _product(self, part: slice, queries: torch.Tensor) -> torch.Tensor:
        """(m, N) of some rows and all queries (C, N)."""
        if self._offsets is None:
            return self._rows[part] @ queries
        return torch.addmm(self._offsets[part, None], self._rows[part], queries)


def widest(rows: torch.Tensor) -> float:
    """Largest squared Euclidean distance between two of M ≥ 1 rows (M, C)."""
    rows = rows.float() - rows.float().mean(dim=0)  # centring keeps the cancellation small
    norms = rows.square().sum(dim=-1)
    size = max(1, entries(rows.device, BLOCK) // len(rows))
    found = rows.new_zeros(())
    for at in range(0, len(rows), size):
        # pairs with earlier rows are done
        block, others = rows[at : at + size], rows[at:]
        product = block @ others.T
        squared = norms[at : at + size, None] + norms[at:] - 2 * product
        found = torch.maximum(found, squared.amax())
    return found.item()


def nearest_cosine(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """1 − cos of each query (..., C) to its nearest row (M, C), of any length: (...)."""
    return Bank(F.normalize(rows, dim=-1)).nearest(queries)


def mean_nearest_cosine(queries: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    """Mean of 1 − cos of each query (..., C) to its `count` nearest rows (M, C), or to all: (...).

    Queries and rows may have any length.
    """
    q = F.normalize(queries, dim=-1).flatten(0, -2)
    found = _closest(q, F.normalize(rows, dim=-1), count)[0].mean(dim=-1)
    return (1 - found).clamp_min(0).reshape(queries.shape[:-1])


def nearest_rows(queries: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(...) 1 − cos of each query to its nearest row, and (..., C) that row.

    Args:
        queries: (..., C) unit vectors.
        rows: (M, C) unit vectors.
    """
    best, index = _closest(queries.reshape(-1, queries.shape[-1]), rows, 1)
    best = best.reshape(queries.shape[:-1])
    return (1 - best).clamp_min(0), rows[index].reshape(queries.shape)


def mean_below(queries: torch.Tensor, others: Sequence[torch.Tensor], share: float) -> torch.Tensor:
    """(P, C) -> (P,): mean cosine distance to the nearest rows of all others.

    Those nearer than the k-th nearest count, k = int(share · their number); at least the nearest.

    Args:
        queries: unit vectors.
        others: (M, C) unit vectors each; moved to the device of the queries one by one.
    """
    k = max(1, int(share * sum(map(len, others))))
    nearest = queries.new_full((len(queries), 0), float("inf"))
    for rows in others:
        found = torch.cat([nearest, 1 - queries @ rows.to(queries.device).T], dim=1)
        nearest = found.topk(min(k, found.shape[1]), dim=1, largest=False, sorted=False).values
    below = nearest < nearest.amax(dim=1, keepdim=True)
    sums = torch.where(below, nearest, 0.0).sum(dim=1)
    return torch.where(below.any(dim=1), sums / below.sum(dim=1), nearest.amin(dim=1))


def _closest(
    queries: torch.Tensor, rows: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, k) cosines of N unit vectors to their nearest rows (M, C), and (N, k) which these are.

    k is `count`, or M if there are no more.
    """
    size = max(1, entries(rows.device, BLOCK) // len(rows))
    found = [(part @ rows.T).topk(min(count, len(rows)), dim=-1) for part in queries.split(size)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


def greedy_coreset(rows: torch.Tensor, size: int) -> torch.Tensor:
    """Indices (size,) of rows that cover all others: each is the farthest from those before it.

    The exact greedy k-centre of PatchCore (Roth et al. 2022, algorithm 1) in Euclidean distance,
    starting from the row farthest from the mean, so without randomness.
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
