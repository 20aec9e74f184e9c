"""Backbones of open_clip: by name and pretrained tag, from a folder, or of a file's tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.transformer import ResidualAttentionBlock

from vlad.backbones import cached, weights
from vlad.backbones.backbone import Backbone
from vlad.backbones.block import identity
from vlad.backbones.downloads import first_of
from vlad.backbones.modules import clip_backbone, clip_info
from vlad.backbones.network import from_network
from vlad.backbones.open_clip_image import part_of
from vlad.backbones.stored import file_of, files_of
from vlad.backbones.text import PlainText
from vlad.backbones.tokens import context_of
from vlad.errors import BackboneError
from vlad.types import BackboneInfo, Interpolation


def is_model(name: str) -> bool:
    """Return whether open_clip has an architecture of this name."""
    return name in open_clip.list_models()


def is_stored(name: str) -> bool:
    """Return whether the weights of "model/tag" or "model" are in open_clip's cache.

    Raises:
        BackboneError: an unknown tag.
    """
    return file_of(open_clip.get_pretrained_cfg(*_model_and_tag(name))) is not None


def weights_names(name: str) -> tuple[str, ...]:
    """Where a model's weights may be in its repository, in this order.

    Raises:
        BackboneError: an unknown tag.
    """
    return tuple(files_of(open_clip.get_pretrained_cfg(*_model_and_tag(name)))[1])


def repository(name: str) -> str | None:
    """The repository of a model's weights; None if they are at another address.

    Raises:
        BackboneError: an unknown tag.
    """
    source = open_clip.get_pretrained_cfg(*_model_and_tag(name)).get("hf_hub", "")
    return source.rpartition("/")[0] or None


def describe(name: str) -> BackboneInfo:
    """The description of a pretrained model for heads, from its configuration only.

    Raises:
        BackboneError: an unknown tag.
    """
    return describe_config("/".join(_model_and_tag(name)), folder_config(name)["model_cfg"])


def describe_config(name: str, config: dict[str, Any]) -> BackboneInfo:
    """The description of a model by its config in open_clip's format.

    Raises:
        BackboneError: as `build`.
    """
    if config["text_cfg"].get("hf_model_name") in _public_texts():
        # its own config is on the hub, and says nothing here
        config = config | {"text_cfg": {"pool_type": "none"}, "custom_text": True}
    with torch.device("meta"):  # shapes without values
        return _info(name, build(config))


def folder_config(name: str) -> dict[str, Any]:
    """The open_clip_config.json of a pretrained model, as its library knows it.

    Raises:
        BackboneError: an unknown tag.
    """
    model, tag = _model_and_tag(name)
    config, source = open_clip.get_model_config(model), open_clip.get_pretrained_cfg(model, tag)
    if source.get("quick_gelu", False):
        config["quick_gelu"] = True
    look = {key: source[key] for key in ("mean", "std", "interpolation") if key in source}
    return {"model_cfg": config, "preprocess_cfg": look}


def from_hub(name: str) -> Backbone:
    """A pretrained open_clip model, from the local cache or the model hub.

    Args:
        name: architecture and pretrained tag, e.g. "ViT-B-16-plus-240/laion400m_e31"; without a
            tag it is the first that open_clip lists.

    Raises:
        BackboneError: an unknown tag, or weights or a tokenizer that cannot be downloaded.
    """
    model, tag = _model_and_tag(name)
    name = f"{model}/{tag}"
    source = open_clip.get_pretrained_cfg(model, tag)
    tokenizer = tokenizer_of(name, open_clip.get_model_config(model))
    stored = is_stored(name)
    whole = stored and "hf_model_name" not in open_clip.get_model_config(model)["text_cfg"]
    with from_network(name, stored=stored, whole=whole):
        if not stored:  # open_clip says of any failure that an older file is missing
            first_of(*files_of(source))
        built = open_clip.create_model(model, tag, force_quick_gelu=source.get("quick_gelu", False))
    weights.check_finite(name, built)
    look = built.visual.preprocess_cfg
    return as_backbone(name, built, tokenizer, look["mean"], look["std"], look["interpolation"])


def tokenizer_of(name: str, config: Mapping[str, Any], folder: Path | None = None) -> Any:
    """The tokenizer of a model, by its config in open_clip's format.

    Args:
        folder: where its files are; None is the local cache or the model hub.

    Raises:
        BackboneError: it cannot be downloaded, or knows no words.
    """
    text = config["text_cfg"]
    length = text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
    source = text.get("hf_tokenizer_name")
    if not source:
        return open_clip.SimpleTokenizer(context_length=length, **text.get("tokenizer_kwargs", {}))
    local = folder is not None
    options = {**text.get("tokenizer_kwargs", {}), "trust_remote_code": False}
    stored = not local and cached.has_one(source, ("tokenizer.json", "tokenizer_config.json"))
    whole = stored and cached.are_known(source, cached.TOKENIZER)
    with from_network(str(folder or source), local, stored, "tokenizer", whole=whole):
        made = open_clip.tokenizer.HFTokenizer(
            str(folder or source),
            context_length=length,
            tokenizer_mode=text.get("tokenizer_mode"),
            **options,
        )
    one, other = made(["a photo of a flawless nut", "broken"])
    if one.equal(other):  # transformers makes one that knows no words where files are missing
        raise BackboneError(
            f"The tokenizer of {name} is missing from {folder or source}; add its files "
            "(tokenizer.json and tokenizer_config.json)."
        )
    return made


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


def build(config: Mapping[str, Any]) -> Any:
    """The model of a config in open_clip's format, with random weights.

    Raises:
        BackboneError: a part of another library that only its name on a hub would tell.
    """
    config = {**config, "vision_cfg": dict(config["vision_cfg"])}
    config["text_cfg"] = dict(config["text_cfg"])
    custom = config.pop("custom_text", False)
    if network := config["vision_cfg"].get("timm_model_name"):
        if not timm.is_model(network):
            raise BackboneError(
                f"timm has no network {network!r}, which this architecture names; correct it, or "
                "install a newer timm."
            )
        config["vision_cfg"]["timm_model_pretrained"] = False
    if text := config["text_cfg"].get("hf_model_name"):
        custom = True
        config["text_cfg"]["hf_model_pretrained"] = False
        if text not in _public_texts():
            raise BackboneError(
                f"This architecture names the text encoder {text!r}, which none of open_clip's own "
                "does; use a model by its name and pretrained tag."
            )
        from transformers import AutoConfig

        stored = cached.path_of(text, "config.json") is not None
        with from_network(text, whole=stored, what="configuration"):
            AutoConfig.from_pretrained(text)
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    return (open_clip.CoCa if custom and "multimodal_cfg" in config else kind)(**config)


@cache
def _public_texts() -> frozenset[str]:
    """The text encoders of transformers that open_clip's own architectures name."""
    texts = (open_clip.get_model_config(name)["text_cfg"] for name in open_clip.list_models())
    return frozenset(text["hf_model_name"] for text in texts if "hf_model_name" in text)


def fit(model: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a file under the names of a model, if open_clip knows their older ones."""
    state = convert_state_dict(model, state)
    if not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    state.pop("text.transformer.embeddings.position_ids", None)  # transformers before 4.31
    return state


def as_backbone(
    name: str,
    model: Any,
    tokenizer: Any,
    mean: Sequence[float],
    std: Sequence[float],
    interpolation: Interpolation = "bicubic",
) -> Backbone:
    """A backbone over an open_clip model."""
    causal = _causal(model)
    return clip_backbone(
        name,
        model,
        tokenizer,
        mean,
        std,
        image=part_of(name, model),
        causal=causal or identity,
        text=None if causal else partial(_text, tokenizer=tokenizer),
        interpolation=interpolation,
    )


def _info(name: str, model: Any) -> BackboneInfo:
    causal = _causal(model)
    return clip_info(part_of(name, model), causal and causal(model))


def _causal(model: Any) -> Callable[[Any], Any] | None:
    """Model -> the module with its text encoder, if that is CLIP's own kind."""
    where: Callable[[Any], Any] = attrgetter("text")
    if isinstance(model, open_clip.CLIP):
        where = identity
    text = where(model)
    pool = getattr(text, "text_pool_type", getattr(text, "pool_type", None))
    if pool != "argmax" or text.attn_mask is None or getattr(text, "cls_emb", None) is not None:
        return None
    plain = all(type(block) is ResidualAttentionBlock for block in text.transformer.resblocks)
    return where if plain and text.text_projection is not None else None


def _text(model: Any, tokenizer: Any) -> PlainText:
    return PlainText(
        lambda sentences: model.encode_text(
            tokenizer(sentences).to(next(model.parameters()).device), normalize=False
        ),
        context_of(tokenizer),
    )
