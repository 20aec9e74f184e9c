"""ViT, MAE and I-JEPA in transformers."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from vlad.backbones.block import identity
from vlad.backbones.transformers.kind import (
    HALF_LOOK,
    IMAGENET_LOOK,
    WITHOUT_CLS,
    Kind,
    block,
    describe,
    mean_of,
    side,
)
from vlad.backbones.vit import VisionTransformer


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


# few checkpoints have the pooler, so that the embedding is CLS after the norm in all of them
_NO_POOLER = {"add_pooling_layer": False}
_LAYERS = attrgetter("layers")
VIT = Kind(describe, _vision, _LAYERS, HALF_LOOK, "bilinear", options=_NO_POOLER)
VIT_MAE = Kind(describe, _vision, _LAYERS, IMAGENET_LOOK)
IJEPA = Kind(WITHOUT_CLS, _vision, _LAYERS, IMAGENET_LOOK, options=_NO_POOLER)
