"""SigLIP and SigLIP 2 in transformers, also at free sizes (NaFlex)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from vlad.backbones.block import Map, identity
from vlad.backbones.transformers.clip import layer_block
from vlad.backbones.transformers.kind import (
    HALF_LOOK,
    WITHOUT_CLS,
    Kind,
    encoder_of,
    mean_of,
    side,
    vision_of,
)
from vlad.backbones.transformers.words import plain_text
from vlad.backbones.vit import VisionTransformer
from vlad.types import BackboneInfo


def _free_info(name: str, config: Any) -> BackboneInfo:
    """The square grid that its positions are given for, whatever else the images may be."""
    vision = vision_of(config)
    grid = round(vision.num_patches**0.5)
    size = grid * side(name, vision.patch_size)
    return WITHOUT_CLS(name, config, image_size=size, pos_embed="bilinear_antialias")


def _vision(model: Any, patch_embed: Map | None = None) -> VisionTransformer:
    vision = vision_of(model)
    return VisionTransformer(
        patch_embed=patch_embed or vision.embeddings.patch_embedding,
        patch_size=side("", vision.config.patch_size),
        cls=None,
        pos=vision.embeddings.position_embedding.weight,
        ln_pre=identity,
        blocks=[layer_block(layer) for layer in vision.encoder.layers],
        ln_post=vision.post_layernorm,
        proj=identity,
        pool=_pool(vision),
    )


def _pool(vision: Any) -> Map:
    if not hasattr(vision, "head"):
        return mean_of(vision.post_layernorm)
    return lambda x: vision.head(vision.post_layernorm(x))


def _free_vision(model: Any) -> VisionTransformer:
    embeddings = vision_of(model).embeddings
    patch = side("", embeddings.patch_size)
    return _vision(model, partial(_patches, embeddings.patch_embedding, patch))


def _patches(linear: torch.nn.Linear, patch: int, pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> (B, C, h, w); the channels of a pixel stand together in its patch."""
    cut = pixels.unflatten(-1, (-1, patch)).unflatten(-3, (-1, patch))  # (B, 3, h, p, w, p)
    return linear(cut.permute(0, 2, 4, 3, 5, 1).flatten(3)).permute(0, 3, 1, 2)


PAD = "max_length"  # as the sentences were in training
SIGLIP = Kind(WITHOUT_CLS, _vision, encoder_of, HALF_LOOK, text=plain_text, pad=PAD)
SIGLIP_VISION = Kind(WITHOUT_CLS, _vision, encoder_of, HALF_LOOK)
_FREE = (_free_info, _free_vision, encoder_of, HALF_LOOK)
SIGLIP_2 = Kind(*_FREE, "bilinear", text=plain_text, pad=PAD)
SIGLIP_2_VISION = Kind(*_FREE, "bilinear")
