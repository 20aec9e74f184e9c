"""RADIO in transformers: several class tokens, and positions cut out of a large table."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F

from vlad.backbones.block import identity
from vlad.backbones.transformers.dino import scaled_block
from vlad.backbones.transformers.kind import PLAIN_LOOK, Kind, describe
from vlad.backbones.vit import VisionTransformer
from vlad.types import NATIVE, BackboneInfo


def _info(name: str, config: Any) -> BackboneInfo:
    return describe(
        name,
        config,
        embed_dim=config.hidden_size * len(config.summary_idxs),
        pos_embed="bilinear",
        # an image is several class tokens side by side, and a patch is one token
        capabilities=NATIVE - {"joint"},
    )


def _vision(model: Any) -> VisionTransformer:
    before = model.embeddings.cls_register_token
    summary = model.summary_idxs
    return VisionTransformer(
        patch_embed=partial(_embed, model),
        patch_size=model.config.patch_size,
        cls=before[0],
        pos=None,
        ln_pre=identity,
        blocks=[scaled_block(layer) for layer in model.encoder.layer],
        ln_post=identity,
        proj=identity,
        pool=lambda x: x[:, summary].flatten(1),
        registers=before[1:] if len(before) > 1 else None,
    )


def _embed(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) pixels in [0, 1] -> (B, C, h, w) with positions; it normalises them itself."""
    embeddings, patch = model.embeddings, model.config.patch_size
    cut = model.input_conditioner(pixels).unflatten(-1, (-1, patch)).unflatten(-3, (-1, patch))
    x = embeddings.patch_projection(cut.permute(0, 2, 4, 1, 3, 5).flatten(3))
    table = embeddings.position_embedding.unflatten(1, (embeddings.max_rows, embeddings.max_cols))
    grid = (int(x.shape[1]), int(x.shape[2]))
    return x.permute(0, 3, 1, 2) + positions(table.permute(0, 3, 1, 2), grid).to(x.dtype)


def positions(table: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(1, C, h, w) positions: the table at the size of the longer side, cut to the grid."""
    longer = max(grid)
    square = F.interpolate(table.float(), (longer, longer), mode="bilinear", align_corners=False)
    return square[..., : grid[0], : grid[1]]


RADIO = Kind(_info, _vision, attrgetter("encoder"), PLAIN_LOOK)
