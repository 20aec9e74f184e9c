"""Directions and scales in which rows vary alike in all directions that matter."""

from __future__ import annotations

import torch

from vlad.maths.moments import Moments

VARIANCE = 0.99  # share that the directions hold


def symmetric_root(matrix: torch.Tensor) -> torch.Tensor:
    """(..., C, C) positive semi-definite matrix -> its root S, symmetric, with S S the matrix.

    That of an inverse covariance turns deviations into standard deviations and keeps channels
    apart: none is nearer to the old channels (Kessy et al., 2018), and their squares add up to the
    squared Mahalanobis distance.
    """
    values, vectors = torch.linalg.eigh(matrix.double())
    root = vectors * values.clamp_min(0).sqrt()[..., None, :]
    return (root @ vectors.mT).to(matrix.dtype)


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
