"""Nearest neighbours among the patches near the same place of a grid."""

from __future__ import annotations

import torch

from vlad.maths.neighbours import Bank, Metric


class PlacedBank:
    """Patches of images, each compared with those at most some grid cells away in any direction.

    Each row of cells is searched apart, among the rows of cells that it reaches.

    Args:
        images: (N, h, w, C) with N ≥ 1; of unit length if the metric is the cosine.
        reach: cells, at least 0.
        metric, bfloat16: as in `vlad.maths.neighbours.Bank`.
    """

    def __init__(self, images: torch.Tensor, reach: int, metric: Metric, bfloat16: bool = False):
        self.reach, self.count = reach, len(images)
        self.height, self.width = images.shape[1:3]
        # contiguous, so that neighbouring rows of cells need no copy
        rows = images.transpose(0, 1).contiguous()
        self.banks = [
            Bank(rows[max(0, y - reach) : y + reach + 1].flatten(0, 2), metric, bfloat16)
            for y in range(self.height)
        ]

    def nearest(self, queries: torch.Tensor) -> torch.Tensor:
        """Distance of each query (B, h·w, C) to its nearest patch within reach: (B, h·w)."""
        columns = torch.arange(self.width, device=queries.device)
        asked = columns.repeat(len(queries))
        apart = (columns[:, None] - asked).abs() > self.reach  # (w, B·w)
        found = []
        for y, (bank, own) in enumerate(
            zip(self.banks, queries.unflatten(1, (self.height, self.width)).unbind(1), strict=True)
        ):
            reached = min(self.height, y + self.reach + 1) - max(0, y - self.reach)
            found.append(bank.nearest(own, apart.repeat(reached * self.count, 1)))
        return torch.stack(found, dim=1).flatten(1)
