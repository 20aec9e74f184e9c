"""Any other network of timm, run by itself: the stages of a hierarchical one are its blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.models.convnext import ConvNeXt
from torch import nn

from vlad.backbones.block import Map
from vlad.backbones.generic import GenericEncoder

FINEST = 4  # pixels between tokens; finer maps come from the stem


def levels(model: Any) -> list[int]:
    """Which of the maps that a model gives are its blocks."""
    strides = [int(part["reduction"]) for part in model.feature_info]
    return [place for place, stride in enumerate(strides) if stride >= FINEST]


def widths(model: Any) -> tuple[int, ...]:
    """Channels of every block."""
    return tuple(model.feature_info[place]["num_chs"] for place in levels(model))


def strides(model: Any) -> tuple[int, int]:
    """Pixels between the tokens of the grid, and what a side of the input must be a multiple of.

    The grid is that of the last stage but one: the deepest is too coarse to show where a defect is.
    """
    found = [int(model.feature_info[place]["reduction"]) for place in levels(model)]
    return found[max(0, len(found) - 2)], max(found)


def embeds_alone(model: Any) -> bool:
    """Return whether an image embedding is that of the mean of the last block's tokens."""
    return isinstance(model, ConvNeXt) and isinstance(model.norm_pre, nn.Identity)


def encoder(model: Any, head: Map) -> GenericEncoder:
    """The image encoder.

    Args:
        head: what the model ends with, from its last features to its image embedding.
    """
    places = levels(model)

    def run(
        pixels: torch.Tensor, blocks: Sequence[int], image: bool
    ) -> tuple[Mapping[int, torch.Tensor], torch.Tensor | None]:
        wanted = [places[block - 1] for block in blocks]
        if not wanted:
            return {}, head(model.forward_features(pixels))
        if not image:
            maps = model.forward_intermediates(
                pixels, indices=wanted, stop_early=True, intermediates_only=True
            )
            return dict(zip(blocks, maps, strict=True)), None
        last, maps = model.forward_intermediates(pixels, indices=wanted)
        return dict(zip(blocks, maps, strict=True)), head(last)

    def joint(tokens: torch.Tensor) -> torch.Tensor:
        return head(tokens.flatten(0, 1)[..., None, None]).unflatten(0, tokens.shape[:2])

    patch_size, _ = strides(model)
    alone = embeds_alone(model)
    return GenericEncoder(run, patch_size, joint=joint if alone else None)
