"""Backbones of Hugging Face transformers: CLIPModel, SiglipModel, Dinov2Model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path

import torch
import transformers
from huggingface_hub import try_to_load_from_cache

from vlad.backbones import weights
from vlad.backbones.backbone import Backbone
from vlad.backbones.block import ACTIVATIONS, Block, Map, identity
from vlad.backbones.text import PlainText, TextTransformer, first_largest
from vlad.backbones.tokens import Context, identity_of
from vlad.backbones.vit import VisionTransformer
from vlad.errors import BackboneError
from vlad.types import BackboneInfo

MAX_DEPTH = 256  # blocks of a backbone; the largest public ones have 64


def from_hub(name: str) -> Backbone:
    """A model of the hub, or of its local cache.

    Raises:
        BackboneError: weights that cannot be downloaded, or of a kind that is not supported.
    """
    return from_folder(name, local=False)


def from_folder(name: str, local: bool = True) -> Backbone:
    """A CLIP, SigLIP or DINOv2 model in a local folder.

    Raises:
        BackboneError: a folder without such a model.
    """
    if local and not (Path(name) / "config.json").is_file():
        raise BackboneError(
            f"{name} has no config.json; give a folder written by save_pretrained, or a weights "
            "file."
        )
    options = {"local_files_only": local or weights.is_offline(), "trust_remote_code": False}
    stored = not local and isinstance(try_to_load_from_cache(name, "config.json"), str)
    with weights.from_network(name, local, stored):
        _check_depth(name, transformers.PretrainedConfig.get_config_dict(name, **options)[0])
        config = transformers.AutoConfig.from_pretrained(name, **options)
        if config.model_type not in LOADERS:
            raise BackboneError(
                f"{name} is a {config.model_type} model; choose one of type {', '.join(LOADERS)}."
            )
        config._attn_implementation = "sdpa"  # it could name a kernel on the hub, which is code
        model, found = transformers.AutoModel.from_pretrained(
            name, config=config, dtype=torch.float32, output_loading_info=True, **options
        )
        _check_weights(name, model, found["missing_keys"])
        mean, std = _normalisation(name, config.model_type, options)
        return LOADERS[config.model_type](name, model, mean, std, options)


def _check_depth(name: str, config: dict) -> None:
    """Raise a BackboneError for too many blocks, before they are created."""
    for part in (config, *(config.get(f"{kind}_config") for kind in ("vision", "text"))):
        depth = part.get("num_hidden_layers") if isinstance(part, dict) else None
        if isinstance(depth, int | float) and depth > MAX_DEPTH:
            raise BackboneError(
                f"The config.json of {name} has {depth:g} layers, over the limit of {MAX_DEPTH}; "
                "correct it."
            )


def _check_weights(name: str, model, missing: Collection[str]) -> None:
    """Raise a BackboneError if a weight is missing (transformers would draw it) or not finite."""
    if missing:
        raise BackboneError(f"Tensor {min(missing)} is missing from {name}; get a new copy.")
    for tensor, values in model.state_dict().items():
        if values.is_floating_point() and not values.sum().isfinite():
            raise BackboneError(f"Tensor {tensor} of {name} has NaN or infinity; get a new copy.")


def _normalisation(name: str, kind: str, options: dict) -> tuple[tuple, tuple]:
    """Pixel mean and std of the model's preprocessor_config.json, else the kind's usual ones."""
    try:
        local = options["local_files_only"]
        found = transformers.utils.cached_file(
            name, "preprocessor_config.json", local_files_only=local
        )
        config = json.loads(Path(found or "").read_text(encoding="utf-8"))
        mean, std = tuple(config["image_mean"]), tuple(config["image_std"])
    except (OSError, KeyError, TypeError):
        return USUAL[kind]
    numbers = all(type(x) in (int, float) and abs(x) < math.inf for x in mean + std)
    if not numbers or not len(mean) == len(std) == 3 or min(std) <= 0:
        raise BackboneError(
            f"image_mean and image_std in preprocessor_config.json of {name} must be three numbers "
            "each, the latter above 0; correct them."
        )
    return mean, std


def _clip(name: str, model, mean, std, options) -> Backbone:
    vision = model.config.vision_config
    info = replace(
        _info(name, vision, model.config.projection_dim, has_text=True),
        text_width=model.config.text_config.hidden_size,
        text_depth=model.config.text_config.num_hidden_layers,
        activation=vision.hidden_act if vision.hidden_act in ACTIVATIONS else None,
    )
    tokenize = _Tokenizer(model, name, options, pad="longest")
    return Backbone(
        info,
        model,
        _clip_vision,
        partial(_clip_text, tokenize=tokenize),
        attrgetter("vision_model.encoder"),
        mean,
        std,
        model.config.to_json_string() + tokenize.identity,
    )


def _clip_vision(model) -> VisionTransformer:
    vision = model.vision_model
    return VisionTransformer(
        patch_embed=vision.embeddings.patch_embedding,
        patch_size=vision.config.patch_size,
        cls=vision.embeddings.class_embedding,
        pos=vision.embeddings.position_embedding.weight,
        ln_pre=vision.pre_layrnorm,
        blocks=[_clip_block(layer) for layer in vision.encoder.layers],
        ln_post=vision.post_layernorm,
        proj=model.visual_projection,
    )


def _clip_text(model, tokenize) -> TextTransformer:
    text = model.text_model
    eos = model.config.text_config.eos_token_id
    return TextTransformer(
        tokenize=lambda sentences: tokenize(sentences)["input_ids"],
        # configs from before transformers 4.31 name another token than the end of text
        end=first_largest if eos == 2 else lambda ids: (ids == eos).int().argmax(dim=-1),
        embed=text.embeddings.token_embedding,
        pos=text.embeddings.position_embedding.weight,
        blocks=[_clip_block(layer) for layer in text.encoder.layers],
        ln_final=text.final_layer_norm,
        proj=model.text_projection,
        context=tokenize.context,
    )


def _siglip(name: str, model, mean, std, options) -> Backbone:
    vision = model.config.vision_config
    info = _info(name, vision, vision.hidden_size, has_text=True, has_cls=False)
    # SigLIP was trained on sentences padded to the full context
    tokenize = _Tokenizer(model, name, options, pad="max_length")
    return Backbone(
        info,
        model,
        _siglip_vision,
        partial(_siglip_text, tokenize=tokenize),
        attrgetter("vision_model.encoder"),
        mean,
        std,
        model.config.to_json_string() + tokenize.identity,
    )


def _siglip_vision(model) -> VisionTransformer:
    vision = model.vision_model
    return VisionTransformer(
        patch_embed=vision.embeddings.patch_embedding,
        patch_size=vision.config.patch_size,
        cls=None,
        pos=vision.embeddings.position_embedding.weight,
        ln_pre=identity,
        blocks=[_clip_block(layer) for layer in vision.encoder.layers],
        ln_post=vision.post_layernorm,
        proj=identity,
        pool=lambda x: vision.head(vision.post_layernorm(x)),
    )


def _dinov2(name: str, model, mean, std, options) -> Backbone:
    info = _info(name, model.config, model.config.hidden_size, has_text=False)
    info = replace(info, pos_embed="bicubic_offset")  # as the authors of the weights
    return Backbone(info, model, _dinov2_vision, None, attrgetter("encoder"), mean, std)


def _dinov2_vision(model) -> VisionTransformer:
    return VisionTransformer(
        patch_embed=model.embeddings.patch_embeddings.projection,
        patch_size=model.config.patch_size,
        cls=model.embeddings.cls_token[0, 0],
        pos=model.embeddings.position_embeddings[0],
        ln_pre=identity,
        blocks=[_dinov2_block(layer) for layer in model.encoder.layer],
        ln_post=model.layernorm,
        proj=identity,
    )


def _info(
    name: str, config, embed_dim: int, *, has_text: bool, has_cls: bool = True
) -> BackboneInfo:
    return BackboneInfo(
        name=name,
        depth=config.num_hidden_layers,
        width=config.hidden_size,
        embed_dim=embed_dim,
        patch_size=config.patch_size,
        image_size=config.image_size,
        has_text=has_text,
        has_cls=has_cls,
    )


def _clip_block(layer) -> Block:
    attention = layer.self_attn
    return Block(
        ln_1=layer.layer_norm1,
        qkv=partial(_qkv, attention),
        projections=partial(_projections, attention),
        out=attention.out_proj,
        heads=attention.num_heads,
        ln_2=layer.layer_norm2,
        mlp=_mlp(layer.mlp),
    )


def _dinov2_block(layer) -> Block:
    attention = layer.attention
    return Block(
        ln_1=layer.norm1,
        qkv=partial(_qkv, attention),
        projections=partial(_projections, attention),
        out=attention.o_proj,
        heads=attention.num_attention_heads,
        ln_2=layer.norm2,
        mlp=_mlp(layer.mlp),
        scale_1=layer.layer_scale1,
        scale_2=layer.layer_scale2,
    )


def _qkv(attention, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x = x.to(attention.q_proj.weight.dtype)
    return attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)


def _projections(attention) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    layers = (attention.q_proj, attention.k_proj, attention.v_proj)
    return [(layer.weight, layer.bias) for layer in layers]


def _mlp(mlp) -> Callable[[torch.Tensor, Map | None], torch.Tensor]:
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


def _siglip_text(model, tokenize) -> PlainText:
    def encode(sentences: Sequence[str]) -> torch.Tensor:
        tokens = {k: v.to(model.device) for k, v in tokenize(sentences).items()}
        found = model.get_text_features(**tokens)
        return found if torch.is_tensor(found) else found.pooler_output

    return PlainText(encode, tokenize.context)


class _Tokenizer:
    """The tokenizer of a model, cutting at what its text encoder reads.

    Raises:
        BackboneError: it tells no sentences apart, or knows tokens that the model does not.
    """

    def __init__(self, model, name: str, options: dict, pad: str):
        self._made = transformers.AutoTokenizer.from_pretrained(name, **options)
        self._pad = pad
        text = model.config.text_config
        self.context = Context(text.max_position_embeddings, self._count)
        one, other = (self._made(w)["input_ids"] for w in ("a photo of a flawless nut", "broken"))
        # where files of a tokenizer are missing, transformers makes one that knows no words, or
        # one that spells them: 22 tokens for these six
        if set(one) == set(other) or len(one) > 14 or max(one + other) >= text.vocab_size:
            raise BackboneError(
                f"The tokenizer of {name} is missing or is not that of its weights; add the "
                "tokenizer files (tokenizer.json, or vocab.json and merges.txt) of the model."
            )

    def __call__(self, sentences: Sequence[str]) -> dict[str, torch.Tensor]:
        length = self.context.limit
        tokens = self._made(
            list(sentences), padding=self._pad, truncation=True, max_length=length,
            return_tensors="pt",
        )  # fmt: skip
        return {k: v for k, v in tokens.items() if k != "token_type_ids"}

    def _count(self, sentence: str) -> int:
        return len(self._made(sentence)["input_ids"])

    @property
    def identity(self) -> str:
        return identity_of(self._made)


_HALF = (0.5, 0.5, 0.5)
USUAL = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "siglip": (_HALF, _HALF),
    "dinov2": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
LOADERS = {"clip": _clip, "siglip": _siglip, "dinov2": _dinov2}
