"""AIMv2 in transformers: RMS norms, gated MLPs, attention pooling, and a causal text encoder."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from vlad.backbones.block import Block, Map, identity
from vlad.backbones.text import TextTransformer
from vlad.backbones.transformers.kind import (
    CLIP_LOOK,
    WITHOUT_CLS,
    Kind,
    block,
    encoder_of,
    mean_of,
    vision_of,
)
from vlad.backbones.transformers.words import Words, at_token
from vlad.backbones.vit import VisionTransformer
from vlad.types import BackboneInfo

PERIOD = 10_000  # of the slowest sine among fixed positions


def _info(name: str, config: Any) -> BackboneInfo:
    text = config.text_config
    return WITHOUT_CLS(
        name,
        config,
        config.projection_dim,
        text_width=text.hidden_size,
        text_depth=text.num_hidden_layers,
    )


def _vision(model: Any) -> VisionTransformer:
    vision = vision_of(model)
    fixed = vision.config.is_native  # at every grid, and not resized
    return VisionTransformer(
        patch_embed=partial(_embed, vision.embeddings, fixed),
        patch_size=vision.config.patch_size,
        cls=None,
        pos=None if fixed else vision.embeddings.position_embedding.weight,
        ln_pre=identity,
        blocks=[_block(layer) for layer in vision.encoder.layers],
        ln_post=vision.rms_norm,
        proj=getattr(model, "visual_projection", identity),
        pool=_pool(vision),
    )


def _embed(embeddings: Any, fixed: bool, pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> (B, C, h, w), normed, with fixed positions if it has these."""
    x = embeddings.rms_norm(embeddings.patch_embed(pixels).permute(0, 2, 3, 1))
    if fixed:
        x = x + waves((int(x.shape[1]), int(x.shape[2])), x.shape[3]).to(x)
    return x.permute(0, 3, 1, 2)


def waves(grid: tuple[int, int], channels: int) -> torch.Tensor:
    """(h, w, channels) fixed positions: sines and cosines of the column, then of the row."""
    steps = torch.arange(channels // 4, dtype=torch.float64) / (channels // 4)
    rows, columns = (torch.arange(n, dtype=torch.float64)[:, None] * PERIOD**-steps for n in grid)
    of_row, of_column = (torch.cat([x.sin(), x.cos()], dim=1) for x in (rows, columns))
    shape = (*grid, -1)
    parts = [of_column[None].expand(shape), of_row[:, None].expand(shape)]
    return torch.cat(parts, dim=-1).float()


def _pool(vision: Any) -> Map:
    if not vision.use_head:
        return mean_of(vision.rms_norm)
    return lambda x: vision.head(vision.rms_norm(x))


def _block(layer: Any) -> Block:
    return block(layer.attention, layer.rms_norm1, layer.rms_norm2, layer.ffn)


def _text(model: Any, words: Words) -> TextTransformer:
    text = model.text_model
    return TextTransformer(
        tokenize=words.ids,
        end=at_token(text.config.eos_token_id),
        embed=text.embeddings.token_embedding,
        pos=text.embeddings.position_embedding.weight,
        blocks=[_block(layer) for layer in text.encoder.layers],
        ln_final=text.rms_norm,
        proj=model.text_projection,
        context=words.context,
    )


AIMV2 = Kind(_info, _vision, encoder_of, CLIP_LOOK, text=_text)
AIMV2_VISION = Kind(WITHOUT_CLS, _vision, encoder_of, CLIP_LOOK)
