"""Directions and scales in which rows vary alike in all directions that matter."""

from __future__ import annotations

import torch

from vlad.maths.moments import Moments

VARIANCE = 0.99  # share that the directions hold


def whitening(moments: Moments) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (C,) and axes (C, K): `(rows - mean) @ axes` vary by 1 where the moments are from.

    The principal components that hold 99 % of the variance are kept, each divided by its standard
    deviation after shrinkage (`Moments.ledoit_wolf`).
    """
    values, axes = torch.linalg.eigh(moments.covariance())
    values, axes = values.flip(0).clamp_min(0), axes.flip(1)
    # by the variance before shrinkage, after which the smallest are alike and none comes first
    kept = int((values.cumsum(dim=0) / values.sum() < VARIANCE).sum()) + 1
    axes = axes[:, :kept]
    shrunk = (axes * (moments.ledoit_wolf() @ axes)).sum(dim=0)
    return moments.mean.float(), (axes * shrunk.rsqrt()).float()
