"""Directions and scales in which rows vary alike in all directions that matter."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vlad.maths.moments import Moments

VARIANCE = 0.99  # share that the directions hold


def whitening(moments: Moments) -> Callable[[torch.Tensor], torch.Tensor]:
    """A map of rows (..., C) to (..., K) coordinates that vary by 1 where the moments are from.

    The covariance is shrunk (`Moments.ledoit_wolf`). Its principal components that hold 99 % of the
    variance are kept, each divided by its standard deviation.
    """
    values, axes = torch.linalg.eigh(moments.ledoit_wolf())
    values, axes = values.flip(0), axes.flip(1)
    kept = int((values.cumsum(dim=0) / values.sum() < VARIANCE).sum()) + 1
    axes = (axes[:, :kept] * values[:kept].rsqrt()).float()
    mean = moments.mean.float()
    return lambda rows: (rows - mean) @ axes
