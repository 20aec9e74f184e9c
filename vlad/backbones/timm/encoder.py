"""The image encoder of a network of timm, wherever it is used: by our forward pass or its own."""

from __future__ import annotations

from typing import Any

import torch

from vlad.backbones.block import Map
from vlad.backbones.generic import GenericEncoder
from vlad.backbones.timm import native, stages
from vlad.backbones.vit import VisionTransformer
from vlad.types import NATIVE, BackboneInfo, Capability


def info(
    name: str, model: Any, *, embed_dim: int, image_size: int, fixed_size: bool
) -> BackboneInfo:
    """The description of a network, without text.

    Args:
        fixed_size: whether the network's own pass takes no other size.
    """
    if native.is_plain(model):
        return BackboneInfo(
            name=name,
            depth=len(model.blocks),
            width=model.embed_dim,
            embed_dim=embed_dim,
            patch_size=model.patch_embed.feat_ratio(),
            image_size=image_size,
            has_text=False,
            has_cls=model.cls_token is not None,
            capabilities=NATIVE if native.has_plain_attention(model) else NATIVE - {"weights"},
        )
    widths = stages.widths(model)
    patch_size, step = stages.strides(model)
    pyramid = stages.pyramid_widths(model)
    can: set[Capability] = set()
    if stages.embeds_alone(model):
        can.add("joint")
    if pyramid:
        can.add("pyramid")
    return BackboneInfo(
        name=name,
        depth=len(widths),
        width=widths[-1],
        embed_dim=embed_dim,
        patch_size=patch_size,
        image_size=image_size if fixed_size else image_size // step * step,
        has_text=False,
        has_cls=getattr(model, "cls_token", None) is not None,
        capabilities=frozenset(can),
        widths=widths if len(set(widths)) > 1 else (),
        pyramid=pyramid,
        step=step if not fixed_size or image_size % step == 0 else image_size,
        fixed_size=fixed_size,
    )


def build(model: Any, proj: Map, head: Map) -> VisionTransformer | GenericEncoder:
    """The image encoder.

    Args:
        proj: pooled features -> image embedding.
        head: last features -> image embedding.
    """
    if native.is_plain(model):
        return native.vision(model, proj)
    return stages.encoder(model, head)


def pooled(model: Any, last: torch.Tensor) -> torch.Tensor:
    """(B, D) features before the classifier, from the last ones; a network without a pool: mean."""
    x = model.forward_head(last, pre_logits=True)
    return x if x.ndim == 2 else x.flatten(2).mean(dim=-1) if x.ndim == 4 else x.mean(dim=1)
