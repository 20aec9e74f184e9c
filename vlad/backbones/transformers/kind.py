"""A kind of model in transformers, and how its parts become ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from vlad.backbones.block import Block, Map, Turn, identity
from vlad.backbones.generic import GenericEncoder
from vlad.backbones.text import PlainText, TextTransformer
from vlad.backbones.transformers.words import Words
from vlad.backbones.vit import VisionTransformer
from vlad.errors import BackboneError
from vlad.types import BackboneInfo, Interpolation

Triple = tuple[float, float, float]
CLIP_LOOK: tuple[Triple, Triple] = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
IMAGENET_LOOK: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF_LOOK: tuple[Triple, Triple] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PLAIN_LOOK: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Kind:
    """How vlad reads one type of model.

    Attributes:
        info: (name, config) -> its description, from the config alone.
        build: model -> its image encoder.
        blocks: model -> the module with the blocks of its image encoder, as in `Backbone`.
        look: pixel mean and std where preprocessor_config.json does not say.
        interpolation: the same for how images are resized.
        text: (model, words) -> its text encoder; None without one.
        pad: how its tokenizer pads sentences.
        unread: positions of its text encoder that no token takes.
        load: config -> the class of transformers that loads it.
        options: further arguments of that class.
        attention: how transformers computes it where the text is its own; never what a file names.
        check: raises a BackboneError for a config.json that vlad does not load.
    """

    info: Callable[[str, Any], BackboneInfo]
    build: Callable[[Any], VisionTransformer | GenericEncoder]
    blocks: Callable[[Any], torch.nn.Module] | None
    look: tuple[Triple, Triple]
    interpolation: Interpolation = "bicubic"
    text: Callable[[Any, Words], TextTransformer | PlainText] | None = None
    pad: str = "longest"
    unread: Callable[[Any], int] = lambda text_config: 0
    load: Callable[[Any], Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    attention: str = "sdpa"
    check: Callable[[str, dict], None] = lambda name, config: None


def vision_of(part: Any) -> Any:
    """The image encoder of a model, or its config: a part of it, or all of it."""
    for name in ("vision_model", "vision_config"):
        if getattr(part, name, None) is not None:
            return getattr(part, name)
    return part


def describe(name: str, config: Any, embed_dim: int = 0, **known: Any) -> BackboneInfo:
    """The description of a vision transformer, from its own config or one with a part for it.

    Args:
        embed_dim: dimensions of the image embedding; 0 is the width.
        known: what else `BackboneInfo` says of it.

    Raises:
        BackboneError: images or patches that are not square.
    """
    vision = vision_of(config)
    patch = side(name, vision.patch_size)
    return BackboneInfo(
        **{
            "name": name,
            "depth": vision.num_hidden_layers,
            "width": vision.hidden_size,
            "embed_dim": embed_dim or vision.hidden_size,
            "patch_size": patch,
            # SigLIP at 384 pixels has 27 patches of 14, and no position for the rest
            "image_size": side(name, getattr(vision, "image_size", 0)) // patch * patch,
            "has_text": hasattr(config, "text_config"),
            "pos_embed": "bicubic",
        }
        | known
    )


WITHOUT_CLS = partial(describe, has_cls=False)


def encoder_of(model: Any) -> torch.nn.Module:
    """The module with the blocks, by the name that most models have for it."""
    return vision_of(model).encoder


def side(name: str, size: int | Sequence[int]) -> int:
    """The side of a square, given as one number or two.

    Raises:
        BackboneError: it is not square.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise BackboneError(
            f"{name} has images or patches of {height}×{width} pixels, and vlad needs square ones: "
            "choose another model."
        )
    return height


def block(
    attention: Any,
    ln_1: Map,
    ln_2: Map,
    mlp: Any,
    scale_1: Map = identity,
    scale_2: Map = identity,
    turn: Turn | None = None,
) -> Block:
    """A block whose attention has q_proj, k_proj and v_proj, as most of transformers have."""
    return Block(
        ln_1=ln_1,
        qkv=partial(_qkv, attention),
        projections=partial(_projections, attention),
        out=_out(attention),
        heads=getattr(attention, "num_heads", None) or attention.num_attention_heads,
        ln_2=ln_2,
        mlp=_mlp(mlp),
        scale_1=scale_1,
        scale_2=scale_2,
        turn=turn,
    )


def _qkv(attention: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x = x.to(attention.q_proj.weight.dtype)
    return attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)


def _projections(attention: Any) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    layers = (attention.q_proj, attention.k_proj, attention.v_proj, _out(attention))
    return [(layer.weight, layer.bias) for layer in layers]


def _out(attention: Any) -> Any:
    return attention.out_proj if hasattr(attention, "out_proj") else attention.o_proj


def _mlp(mlp: Any) -> Callable[[torch.Tensor, Map | None], torch.Tensor]:
    def feed(x: torch.Tensor, activation: Map | None) -> torch.Tensor:
        x = x.to(next(mlp.parameters()).dtype)
        if activation is None:
            return mlp(x)
        if not hasattr(mlp, "fc2"):
            raise BackboneError(
                f"Cannot replace the activation of a {type(mlp).__name__}; choose another backbone "
                "or head."
            )
        return mlp.fc2(activation(mlp.fc1(x)))

    return feed


def mean_of(norm: Map) -> Map:
    """The pooling of an encoder without a head: (B, N, C) -> the mean (B, C) of normed tokens."""
    return lambda x: norm(x).mean(dim=1)
