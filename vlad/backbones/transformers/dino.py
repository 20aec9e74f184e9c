"""DINOv2, DINOv3 and TIPSv2 in transformers: layer scale, registers, rotary positions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import torch

from vlad.backbones.block import Block, Turn, identity, turn_halves
from vlad.backbones.generic import GenericEncoder
from vlad.backbones.transformers.kind import (
    IMAGENET_LOOK,
    PLAIN_LOOK,
    Kind,
    block,
    describe,
    side,
    vision_of,
)
from vlad.backbones.transformers.words import prefixed_text
from vlad.backbones.vit import VisionTransformer
from vlad.types import BackboneInfo

STEM = 4  # pixels that the first stage of a ConvNeXt takes together; each later one doubles them


# as the authors of the weights resize positions
_DINOV2_INFO = partial(describe, pos_embed="bicubic_offset")
_REGISTERS_INFO = partial(describe, pos_embed="bicubic_antialias")
_TIPS_VISION_INFO = partial(describe, pos_embed="bilinear_antialias")


def _tips_info(name: str, config: Any) -> BackboneInfo:
    return _TIPS_VISION_INFO(
        name,
        config,
        text_width=config.text_config.hidden_size,
        temperature=config.temperature_init_value,  # learned, but its files leave it out
    )


def _dinov2(model: Any) -> VisionTransformer:
    vision = vision_of(model)
    embeddings = vision.embeddings
    return VisionTransformer(
        patch_embed=embeddings.patch_embeddings.projection,
        patch_size=side("", vision.config.patch_size),
        cls=embeddings.cls_token[0, 0],
        pos=embeddings.position_embeddings[0],
        ln_pre=identity,
        blocks=[scaled_block(layer) for layer in vision.encoder.layer],
        ln_post=vision.layernorm,
        proj=identity,
        registers=_registers(embeddings),
    )


def _dinov3(model: Any) -> VisionTransformer:
    embeddings = model.embeddings
    return VisionTransformer(
        patch_embed=embeddings.patch_embeddings,
        patch_size=side("", model.config.patch_size),
        cls=embeddings.cls_token[0, 0],
        pos=None,
        ln_pre=identity,
        blocks=[scaled_block(layer, turn_halves) for layer in model.model.layer],
        ln_post=model.norm,
        proj=identity,
        registers=_registers(embeddings),
        rope=partial(rope, model.rope_embeddings.inv_freq),
    )


def _registers(embeddings: Any) -> torch.Tensor | None:
    tokens = getattr(embeddings, "register_tokens", None)
    return tokens[0] if tokens is not None and tokens.shape[1] else None


def scaled_block(layer: Any, turn: Turn | None = None) -> Block:
    scales = layer.layer_scale1, layer.layer_scale2
    return block(layer.attention, layer.norm1, layer.norm2, layer.mlp, *scales, turn=turn)


def rope(frequencies: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(h·w, 2, d) angles of DINOv3: centres of patches from -1 to 1 in both directions.

    Args:
        frequencies: (d/4,) turns from the middle to the edge.
    """
    device = frequencies.device
    places = [2 * (torch.arange(n, device=device) + 0.5) / n - 1 for n in grid]
    centres = torch.cartesian_prod(*places)
    angles = (2 * math.pi * centres[:, :, None] * frequencies).flatten(1).tile(2)
    return torch.stack([angles.sin(), angles.cos()], dim=1)


def _convnext_info(name: str, config: Any) -> BackboneInfo:
    widths = tuple(config.hidden_sizes)
    strides = [STEM * 2**stage for stage in range(len(widths))]
    return BackboneInfo(
        name=name,
        depth=len(widths),
        width=widths[-1],
        embed_dim=widths[-1],
        patch_size=strides[-2:][0],
        image_size=side(name, config.image_size),
        has_text=False,
        has_cls=False,
        capabilities=frozenset({"joint"}),
        widths=widths,
        step=strides[-1],
    )


def _convnext(model: Any) -> GenericEncoder:
    stages = model.model.stages
    strides = [STEM * 2**stage for stage in range(len(stages))]

    def run(
        pixels: torch.Tensor, blocks: Sequence[int], image: bool
    ) -> tuple[Mapping[int, torch.Tensor], torch.Tensor | None]:
        maps: dict[int, torch.Tensor] = {}
        x = pixels
        for number in range(1, 1 + (len(stages) if image else max(blocks, default=0))):
            x = stages[number - 1](x)
            if number in blocks:
                maps[number] = x
        return maps, model.layer_norm(model.pool(x).flatten(1)) if image else None

    return GenericEncoder(run, strides[-2:][0], joint=lambda x: model.layer_norm(x))


DINOV2 = Kind(_DINOV2_INFO, _dinov2, attrgetter("encoder"), IMAGENET_LOOK)
DINOV2_REGISTERS = Kind(_REGISTERS_INFO, _dinov2, attrgetter("encoder"), IMAGENET_LOOK)
DINOV3 = Kind(describe, _dinov3, attrgetter("model"), IMAGENET_LOOK, "bilinear")
DINOV3_CONVNEXT = Kind(
    _convnext_info, _convnext, None, IMAGENET_LOOK, "bilinear", attention="eager"
)
TIPSV2 = Kind(
    _tips_info,
    _dinov2,
    attrgetter("vision_model.encoder"),
    PLAIN_LOOK,
    "bilinear",
    text=prefixed_text,
)
TIPSV2_VISION = Kind(_TIPS_VISION_INFO, _dinov2, attrgetter("encoder"), PLAIN_LOOK, "bilinear")
