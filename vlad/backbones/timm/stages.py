"""Any other network of timm, run by itself: the stages of a hierarchical one are its blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import EfficientNet
from torch import nn

from vlad.backbones.block import Map
from vlad.backbones.generic import GenericEncoder
from vlad.backbones.vit import Pyramid

STRIDES = [2, 4, 8, 16, 32]  # of a pyramid
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


def pyramid_widths(model: Any) -> tuple[int, ...]:
    """Channels of the maps of `pyramid`; () if the network has not all of them."""
    found = tuple(model.feature_info[place]["num_chs"] for place in range(len(model.feature_info)))
    if [part["reduction"] for part in model.feature_info] != STRIDES:
        return ()
    return (model.conv_stem.out_channels, *found[1:]) if _has_stem(model) else found


def pyramid(model: Any) -> Pyramid | None:
    """Its maps at strides 2 to 32, the last of each; None if it has not all of them.

    The finest of an EfficientNet is that of its stem, as segmentation networks take it.
    """
    if not pyramid_widths(model):
        return None
    stem = _has_stem(model)
    places = [part["stage"] if stem else i for i, part in enumerate(model.feature_info)]
    chosen: dict[str, Any] = {"indices": [0, *places[1:]]}
    if stem:
        chosen["extra_blocks"] = True

    def run(pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(model.forward_intermediates(pixels, intermediates_only=True, **chosen))

    return run


def _has_stem(model: Any) -> bool:
    return isinstance(model, EfficientNet)


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
    return GenericEncoder(run, patch_size, joint=joint if alone else None, pyramid=pyramid(model))
