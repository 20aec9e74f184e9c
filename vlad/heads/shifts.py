"""The features of a region that are off by most standard deviations."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vlad.types import FeatureShift, Layer

SHOWN = 3  # features named of each region


def largest_shifts(
    names: Sequence[str], sigmas: torch.Tensor, part: bool = False
) -> list[tuple[FeatureShift, ...]]:
    """The features that are off by most, first the worst, for each row of (R, F) deviations.

    Args:
        part: as in `FeatureShift`.
    """
    count = min(SHOWN, len(names))
    return [
        tuple(FeatureShift(names[i], row[i].item(), part) for i in places.tolist())
        for row, places in zip(sigmas, sigmas.abs().topk(count, dim=1).indices, strict=True)
    ]


def channels_of(layer: Layer, width: int) -> list[str]:
    """Names of the channels of a layer's tokens, which count from 1."""
    return [f"channel {n} of {blocks_of(layer)}" for n in range(1, width + 1)]


def blocks_of(layer: Layer) -> str:
    """A layer in words."""
    return f"block {layer}" if isinstance(layer, int) else f"blocks {', '.join(map(str, layer))}"
