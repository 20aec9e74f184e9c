"""Backbones of open_clip: by name and pretrained tag, or of an architecture that only it builds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import open_clip
import torch

from vlad.backbones import weights
from vlad.backbones.backbone import Backbone
from vlad.backbones.block import Map
from vlad.backbones.modules import clip_backbone
from vlad.backbones.stored import file_of
from vlad.backbones.text import PlainText
from vlad.backbones.tokens import context_of
from vlad.errors import BackboneError
from vlad.types import BackboneInfo


def is_model(name: str) -> bool:
    """Return whether open_clip has an architecture of this name."""
    return name in open_clip.list_models()


def is_stored(name: str) -> bool:
    """Return whether the weights of "model/tag" or "model" are in open_clip's cache.

    Raises:
        BackboneError: an unknown tag.
    """
    return file_of(open_clip.get_pretrained_cfg(*_model_and_tag(name))) is not None


def describe(name: str) -> BackboneInfo:
    """The description of a pretrained model for heads, from its configuration only.

    Raises:
        BackboneError: an unknown tag, or an unsupported image encoder.
    """
    model, tag = _model_and_tag(name)
    quick_gelu = open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False)
    with torch.device("meta"):  # shapes without values
        built = open_clip.create_model(model, device="meta", force_quick_gelu=quick_gelu)
    half = (0.5, 0.5, 0.5)
    return as_backbone(f"{model}/{tag}", built, open_clip.get_tokenizer(model), half, half).info


def from_hub(name: str) -> Backbone:
    """A pretrained open_clip model, from the local cache or the model hub.

    Args:
        name: architecture and pretrained tag, e.g. "ViT-B-16-plus-240/laion400m_e31"; without a
            tag it is the first that open_clip lists.

    Raises:
        BackboneError: an unknown tag, or weights that cannot be downloaded.
    """
    model, tag = _model_and_tag(name)
    name = f"{model}/{tag}"
    quick_gelu = open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False)
    stored = is_stored(name)
    if not stored:  # what would be refused is not fetched
        with torch.device("meta"):
            _check(name, open_clip.create_model(model, device="meta"))
    with weights.from_network(name, stored=stored):
        built = open_clip.create_model(model, tag, force_quick_gelu=quick_gelu)
    preprocess = built.visual.preprocess_cfg
    return as_backbone(
        name, built, open_clip.get_tokenizer(model), preprocess["mean"], preprocess["std"]
    )


def _model_and_tag(name: str) -> tuple[str, str]:
    """An architecture and its pretrained tag: the given one, or the first that open_clip lists."""
    model, _, tag = name.partition("/")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if not tag and tags:
        return model, tags[0]
    if tag not in tags:
        raise BackboneError(
            f"Model {model} has no pretrained tag {tag!r} (it has {', '.join(tags) or 'none'}); "
            f"choose one, or give a file as {model}=weights.pt."
        )
    return model, tag


def build(config: dict) -> torch.nn.Module:
    """The model of a config in open_clip's format, with random weights.

    Raises:
        BackboneError: it needs something that a local file cannot contain.
    """
    unfit = sorted(set(config) - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"})
    if unfit:
        raise BackboneError(
            f"This architecture needs {', '.join(unfit)}, which a local file cannot contain; use "
            "the model by its name and pretrained tag."
        )
    return open_clip.CLIP(**config)


def as_backbone(
    name: str,
    model: open_clip.CLIP | open_clip.CustomTextCLIP,
    tokenizer,
    mean: Sequence[float],
    std: Sequence[float],
) -> Backbone:
    """A backbone over an open_clip model.

    Raises:
        BackboneError: its image encoder is not a plain vision transformer.
    """
    plain_text = _check(name, model)
    return clip_backbone(
        name,
        model,
        tokenizer,
        mean,
        std,
        pool=_pool,
        text=None if plain_text else partial(_text, tokenizer=tokenizer),
    )


def _check(name: str, model: open_clip.CLIP | open_clip.CustomTextCLIP) -> bool:
    """Whether its text encoder is CLIP's own; raises a BackboneError for blocks without taps."""
    visual = model.visual
    if not isinstance(visual, open_clip.transformer.VisionTransformer):
        raise BackboneError(
            f"The image encoder of {name} is a {type(visual).__name__}, which is not supported; "
            "choose a model whose image encoder is open_clip's own vision transformer (ViT-*)."
        )
    plain_text = isinstance(model, open_clip.CLIP) and model.text_pool_type == "argmax"
    for transformer in (visual.transformer, model.transformer if plain_text else None):
        for block in transformer.resblocks if transformer else ():
            if type(block) is not open_clip.transformer.ResidualAttentionBlock:
                raise BackboneError(
                    f"Blocks of type {type(block).__name__} are not supported; choose a plain "
                    "CLIP ViT."
                )
    return plain_text


def _pool(model: open_clip.CLIP) -> Map | None:
    visual = model.visual
    if visual.attn_pool is None and visual.pool_type == "tok":
        return None
    return lambda x: visual._pool(x)[0]


def _text(model: open_clip.CustomTextCLIP, tokenizer) -> PlainText:
    return PlainText(
        lambda sentences: model.encode_text(
            tokenizer(sentences).to(next(model.parameters()).device)
        ),
        context_of(tokenizer),
    )
