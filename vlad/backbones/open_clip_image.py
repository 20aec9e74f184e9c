"""The image encoders of open_clip's models, each by the pass that fits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import ResidualAttentionBlock
from open_clip.transformer import VisionTransformer as OwnTransformer
from torch import nn

from vlad.backbones.block import Map
from vlad.backbones.generic import GenericEncoder
from vlad.backbones.modules import ImagePart, image_part
from vlad.backbones.timm import encoder, native
from vlad.backbones.vit import VisionTransformer
from vlad.types import BackboneInfo

STAGES = 4  # of a ResNet; its first map is that of the stem
STRIDES = (16, 32)  # of its last stages


def part_of(name: str, model: Any) -> ImagePart:
    """The image encoder of an open_clip model."""
    visual = model.visual
    if isinstance(visual, TimmModel):
        return _of_timm(name, visual)
    if isinstance(visual, ModifiedResNet):
        return _of_resnet(name, visual)
    if all(type(block) is ResidualAttentionBlock for block in visual.transformer.resblocks):
        return image_part(name, model, _pool)
    return _of_other(name, model)


def _pool(model: Any) -> Map | None:
    visual = model.visual
    if visual.attn_pool is None and visual.pool_type == "tok":
        return None
    return partial(_pooled, visual)


def _pooled(visual: OwnTransformer, x: torch.Tensor) -> torch.Tensor:
    if x.shape[1] == 1 and visual.attn_pool is None and visual.pool_type == "avg":
        return visual.ln_post(x[:, 0])  # a patch token alone is its mean
    return visual._pool(x)[0]


def _of_timm(name: str, visual: TimmModel) -> ImagePart:
    trunk = visual.trunk
    plain = native.is_plain(trunk)
    # where open_clip's config names another size than the trunk's, only the trunk's is right
    side = trunk.patch_embed.img_size[0] if plain else visual.image_size[0]
    info = encoder.info(
        name,
        trunk,
        embed_dim=_embed_dim(visual),
        image_size=side,
        fixed_size=bool(trunk.pretrained_cfg.get("fixed_input_size")),
    )
    return ImagePart(info, _build_timm, attrgetter("visual.trunk.blocks") if plain else None)


def _build_timm(model: Any) -> VisionTransformer | GenericEncoder:
    visual = model.visual
    return encoder.build(
        visual.trunk,
        proj=lambda x: visual.head(visual.trunk.head(x)),
        head=lambda last: visual.head(visual.trunk.forward_head(last)),
    )


def _embed_dim(visual: TimmModel) -> int:
    layers = [m for m in visual.head.modules() if isinstance(m, nn.Linear)]
    last = layers[-1] if layers else visual.trunk.get_classifier()
    return last.out_features if isinstance(last, nn.Linear) else visual.trunk.num_features


def _of_resnet(name: str, visual: ModifiedResNet) -> ImagePart:
    stages = (visual.layer1, visual.layer2, visual.layer3, visual.layer4)
    widths = tuple(stage[-1].conv3.out_channels for stage in stages)
    info = BackboneInfo(
        name=name,
        depth=STAGES,
        width=widths[-1],
        embed_dim=visual.output_dim,
        patch_size=STRIDES[0],
        image_size=int(visual.image_size),
        has_text=False,
        has_cls=False,
        capabilities=frozenset({"joint"}),
        widths=widths,
        step=STRIDES[1],
        fixed_size=True,  # its pool has a position for each token
    )
    return ImagePart(info, _build_resnet, None)


def _build_resnet(model: Any) -> GenericEncoder:
    visual = model.visual

    def run(
        pixels: torch.Tensor, blocks: Sequence[int], image: bool
    ) -> tuple[Mapping[int, torch.Tensor], torch.Tensor | None]:
        x, maps = visual.stem(pixels), {}
        stages = (visual.layer1, visual.layer2, visual.layer3, visual.layer4)
        for number, stage in enumerate(stages[: STAGES if image else max(blocks)], start=1):
            x = maps[number] = stage(x)
        return maps, visual.attnpool(x) if image else None

    return GenericEncoder(run, STRIDES[0], joint=partial(_values, visual.attnpool))


def _values(pool: AttentionPool2d, tokens: torch.Tensor) -> torch.Tensor:
    """What the pool gives for a token alone, without the positions."""
    return pool.c_proj(pool.v_proj(tokens))


def _of_other(name: str, model: Any) -> ImagePart:
    """A vision transformer whose blocks are not the plain ones."""
    info = replace(image_part(name, model).info, capabilities=frozenset(), fixed_size=True)
    return ImagePart(replace(info, activation=None), _build_other, None)


def _build_other(model: Any) -> GenericEncoder:
    visual = model.visual

    def run(
        pixels: torch.Tensor, blocks: Sequence[int], image: bool
    ) -> tuple[Mapping[int, torch.Tensor], torch.Tensor | None]:
        places = [block - 1 for block in blocks or [1]]
        found = visual.forward_intermediates(
            pixels, indices=places, stop_early=not image, intermediates_only=not image
        )
        maps = zip(blocks, found["image_intermediates"], strict=False)
        return dict(maps), found.get("image_features")

    return GenericEncoder(run, visual.patch_size[0])
