"""ViT, MAE and I-JEPA in transformers."""

from __future__ import annotations

from typing import Any

import torch

from vlad.backbones.block import identity
from vlad.backbones.transformers.kind import (
    HALF_LOOK,
    IMAGENET_LOOK,
    Kind,
    block,
    describe,
    mean_of,
    side,
)
from vlad.backbones.vit import VisionTransformer
from vlad.types import BackboneInfo


def _info_without_cls(name: str, config: Any) -> BackboneInfo:
    return describe(name, config, has_cls=False)


def _vision(model: Any) -> VisionTransformer:
    """All patches in their order, also of MAE, whose own pass drops and shuffles them."""
    embeddings = model.embeddings
    cls = getattr(embeddings, "cls_token", None)
    return VisionTransformer(
        patch_embed=embeddings.patch_embeddings.projection,
        patch_size=side("", model.config.patch_size),
        cls=None if cls is None else cls[0, 0],
        pos=embeddings.position_embeddings[0],
        ln_pre=identity,
        blocks=[
            block(layer.attention, layer.layernorm_before, layer.layernorm_after, layer.mlp)
            for layer in model.layers
        ],
        ln_post=model.layernorm,
        proj=identity,
        pool=mean_of(model.layernorm) if cls is None else None,
    )


def _layers(model: Any) -> torch.nn.Module:
    return model.layers


# few checkpoints have the pooler, so that the embedding is CLS after the norm in all of them
_NO_POOLER = {"add_pooling_layer": False}
VIT = Kind(describe, _vision, _layers, HALF_LOOK, "bilinear", options=_NO_POOLER)
VIT_MAE = Kind(describe, _vision, _layers, IMAGENET_LOOK)
IJEPA = Kind(_info_without_cls, _vision, _layers, IMAGENET_LOOK, options=_NO_POOLER)
