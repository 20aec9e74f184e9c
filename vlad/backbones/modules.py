"""The parts of a CLIP in open_clip's structure, for our forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F

from vlad.backbones.backbone import Backbone
from vlad.backbones.block import ACTIVATIONS, Block, Map, identity
from vlad.backbones.generic import GenericEncoder
from vlad.backbones.plain import PlainCLIP
from vlad.backbones.text import PlainText, TextTransformer, first_largest
from vlad.backbones.tokens import context_of, identity_of
from vlad.backbones.vit import VisionTransformer
from vlad.types import NATIVE, Activation, BackboneInfo, Interpolation

_ACTIVATIONS: dict[str, Activation] = {"GELU": "gelu", "QuickGELU": "quick_gelu"}


@dataclass(frozen=True)
class ImagePart:
    """The image encoder of a CLIP, as `Backbone` takes it.

    Attributes:
        info: its description, without text.
        build: model -> the image encoder.
        blocks: model -> the module with its blocks, or None.
    """

    info: BackboneInfo
    build: Callable[[torch.nn.Module], VisionTransformer | GenericEncoder]
    blocks: Callable[[torch.nn.Module], torch.nn.Module] | None


def image_part(
    name: str, model: PlainCLIP, pool: Callable[[PlainCLIP], Map | None] | None = None
) -> ImagePart:
    """The vision transformer of a CLIP whose modules have open_clip's names.

    Args:
        pool: model -> what replaces "ln_post of CLS", as in `VisionTransformer`, or None.
    """
    visual = model.visual
    info = BackboneInfo(
        name=name,
        depth=len(visual.transformer.resblocks),
        width=visual.conv1.out_channels,
        embed_dim=visual.output_dim,
        patch_size=visual.patch_size[0],
        image_size=visual.image_size[0],
        has_text=False,
        activation=_activation(visual.transformer.resblocks[0].mlp),
        # what follows a pool cannot project tokens
        capabilities=NATIVE - {"weights"} if pool and pool(model) else NATIVE,
    )
    return ImagePart(info, partial(_vision, pool=pool), attrgetter("visual.transformer"))


def clip_info(image: ImagePart, causal: Any) -> BackboneInfo:
    """The description of a CLIP; `causal` is its text encoder if that is CLIP's own kind."""
    if causal is None:
        return replace(image.info, has_text=True)
    return replace(
        image.info,
        has_text=True,
        text_width=causal.token_embedding.embedding_dim,
        text_depth=len(causal.transformer.resblocks),
    )


def clip_backbone(
    name: str,
    model: PlainCLIP,
    tokenizer,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    image: ImagePart | None = None,
    causal: Callable[[Any], Any] = identity,
    text: Callable[[torch.nn.Module], PlainText] | None = None,
    interpolation: Interpolation = "bicubic",
) -> Backbone:
    """A backbone over a CLIP whose modules have open_clip's names.

    Args:
        model: a PlainCLIP, or an open_clip model, which has the same parts.
        tokenizer: N sentences -> (N, L) token ids.
        image: its image encoder; None is a vision transformer that reads CLS.
        causal: model -> the module with its causal text encoder, read at the end of the text.
        text: model -> its text encoder if it is of another kind.
    """
    image = image or image_part(name, model)
    info = clip_info(image, causal(model) if text is None else None)
    # the printed modules include the activations, which are not in the tensors
    inner = getattr(tokenizer, "tokenizer", None)  # one of transformers
    own = identity_of(inner) if inner else type(tokenizer).__name__
    config = f"{model} {own} {tokenizer.context_length}"
    read = text or partial(_text, causal=causal, tokenizer=tokenizer)
    return Backbone(
        info, model, image.build, read, image.blocks, tuple(mean), tuple(std), config, interpolation
    )


def _text(model, causal, tokenizer) -> TextTransformer:
    return text_of(causal(model), tokenizer)


def text_of(part, tokenizer) -> TextTransformer:
    """CLIP's text encoder over modules with open_clip's names."""
    project = part.text_projection
    return TextTransformer(
        tokenize=tokenizer,
        end=first_largest,
        embed=part.token_embedding,
        pos=part.positional_embedding,
        blocks=[block_of(block) for block in part.transformer.resblocks],
        ln_final=part.ln_final,
        proj=project if isinstance(project, torch.nn.Module) else partial(_matmul, weight=project),
        context=context_of(tokenizer),
    )


def _vision(model: PlainCLIP, pool: Callable[[PlainCLIP], Map | None] | None) -> VisionTransformer:
    visual = model.visual
    return VisionTransformer(
        patch_embed=visual.conv1,
        patch_size=visual.patch_size[0],
        cls=visual.class_embedding,
        pos=visual.positional_embedding,
        ln_pre=visual.ln_pre,
        blocks=[block_of(block) for block in visual.transformer.resblocks],
        ln_post=visual.ln_post,
        proj=identity if visual.proj is None else partial(_matmul, weight=visual.proj),
        pool=pool and pool(model),
    )


def _matmul(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x @ weight


def _activation(mlp) -> Activation | None:
    """The activation of an MLP if it is one of CLIP's two."""
    return _ACTIVATIONS.get(type(mlp.gelu).__name__)


def block_of(block) -> Block:
    """A block of open_clip's transformers as functions."""
    attention, mlp = block.attn, block.mlp
    known = _activation(mlp)
    own = ACTIVATIONS[known] if known else mlp.gelu

    def feed(x: torch.Tensor, activation: Map | None) -> torch.Tensor:
        return mlp.c_proj((activation or own)(mlp.c_fc(x.to(mlp.c_fc.weight.dtype))))

    def qkv(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        return F.linear(x.to(weight.dtype), weight, bias).chunk(3, dim=-1)

    def projections() -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
        out = attention.out_proj
        return [*zip(weights, biases, strict=True), (out.weight, out.bias)]

    return Block(
        ln_1=block.ln_1,
        qkv=qkv,
        projections=projections,
        out=attention.out_proj,
        heads=attention.num_heads,
        ln_2=block.ln_2,
        mlp=feed,
        scale_1=block.ls_1,
        scale_2=block.ls_2,
    )
