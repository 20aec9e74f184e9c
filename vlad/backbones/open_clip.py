"""Towers of open_clip: by name and pretrained tag, or from a local checkpoint."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from vlad import weights
from vlad.backbones.text import PlainText, TextTransformer, first_largest
from vlad.backbones.tower import Tower
from vlad.backbones.vit import Block, Map, VisionTransformer, identity
from vlad.errors import BackboneError
from vlad.types import Activation, TowerInfo


def is_model(name: str) -> bool:
    """Whether open_clip knows an architecture of this name."""
    return name in open_clip.list_models()


def describe(model: str, tag: str | None) -> TowerInfo:
    """What heads may know of a pretrained model, from its configuration alone.

    Raises:
        BackboneError: an unknown tag, or an image tower without taps.
    """
    tag = _tag(model, tag)
    quick_gelu = open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False)
    with torch.device("meta"):  # shapes without numbers
        built = open_clip.create_model(model, device="meta", force_quick_gelu=quick_gelu)
    half = (0.5, 0.5, 0.5)
    return as_tower(f"{model}/{tag}", built, open_clip.get_tokenizer(model), half, half).info


def from_hub(model: str, tag: str | None) -> Tower:
    """A pretrained open_clip model, from the local cache or the model hub.

    Args:
        model: architecture, e.g. "ViT-B-16-plus-240".
        tag: pretrained tag, e.g. "laion400m_e31"; None takes the first that open_clip lists.

    Raises:
        BackboneError: an unknown tag, or weights that cannot be fetched.
    """
    tag = _tag(model, tag)
    name = f"{model}/{tag}"
    quick_gelu = open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False)
    with weights.from_network(name):
        built = open_clip.create_model(model, tag, force_quick_gelu=quick_gelu)
    preprocess = built.visual.preprocess_cfg
    return as_tower(
        name, built, open_clip.get_tokenizer(model), preprocess["mean"], preprocess["std"]
    )


def _tag(model: str, tag: str | None) -> str:
    """A pretrained tag of a model: the one asked for, or the first that open_clip lists."""
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag is None and tags:
        return tags[0]
    if tag not in tags:
        known = ", ".join(tags) or "none: give a file as " + model + "=weights.pt"
        raise BackboneError(f"Model {model} has no pretrained tag {tag!r}; open_clip has {known}.")
    return tag


def from_file(path: Path, model: str | None = None) -> Tower:
    """A CLIP checkpoint on disk: open_clip's .pt or .safetensors, or OpenAI's JIT archive.

    The architecture is `model` where given, else the JSON in open_clip's config format beside
    the file (same name, .json), else read off the shapes of the tensors.

    Raises:
        BackboneError: a file that holds no CLIP, or tensors that do not fit the architecture.
    """
    state, is_openai = weights.read_clip_state(path)
    config = _config(path, model) or weights.infer_clip_config(state, path)
    config.setdefault("quick_gelu", is_openai)
    try:
        built = open_clip.CLIP(**_known(config))
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise BackboneError(
            f"The architecture given for {path} is no model config of open_clip ({error}); "
            "correct the JSON beside it, or name the architecture."
        ) from error
    weights.load_strictly(built, state, path)
    text = config.get("text_cfg", {})
    tokenizer = open_clip.SimpleTokenizer(context_length=text.get("context_length", 77))
    return as_tower(path.stem, built, tokenizer, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)


def _config(path: Path, model: str | None) -> dict | None:
    if model is not None:
        if not is_model(model):
            raise BackboneError(
                f'open_clip knows no architecture {model!r}; `python -c "import open_clip; '
                'print(open_clip.list_models())"` lists them.'
            )
        return open_clip.get_model_config(model)
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        config = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BackboneError(
            f"{beside} is not valid JSON ({error}); correct or remove it."
        ) from None
    if not isinstance(config, dict):
        raise BackboneError(f"{beside} is no model config of open_clip; correct or remove it.")
    return config.get("model_cfg", config)


def _known(config: dict) -> dict:
    """The part of an open_clip model config that the CLIP class takes."""
    unfit = sorted(set(config) - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"})
    if unfit:
        raise BackboneError(
            f"This architecture needs {', '.join(unfit)}, which a local file cannot carry; "
            "use the model by its name and pretrained tag."
        )
    return config


def as_tower(name: str, model: torch.nn.Module, tokenizer, mean, std) -> Tower:
    """A tower over a model of open_clip.

    Raises:
        BackboneError: its image tower is no plain vision transformer.
    """
    visual = model.visual
    if not isinstance(visual, open_clip.transformer.VisionTransformer):
        raise BackboneError(
            f"The image tower of {name} is a {type(visual).__name__}, which has no taps; choose a "
            "model whose image tower is open_clip's own vision transformer (ViT-*)."
        )
    info = TowerInfo(
        name=name,
        depth=len(visual.transformer.resblocks),
        width=visual.conv1.out_channels,
        embed_dim=visual.output_dim,
        patch_size=visual.patch_size[0],
        image_size=visual.image_size[0],
        has_text=True,
        text_width=model.token_embedding.embedding_dim if _is_plain_text(model) else None,
        text_depth=len(model.transformer.resblocks) if _is_plain_text(model) else 0,
        activation=_activation(visual),
    )
    # the printed modules name the activations, which the tensors do not show
    config = f"{model} {type(tokenizer).__name__} {tokenizer.context_length}"
    read = partial(_text, tokenizer=tokenizer)
    return Tower(info, model, _vision, read, _blocks, tuple(mean), tuple(std), config)


def _blocks(model: torch.nn.Module) -> torch.nn.Module:
    return model.visual.transformer


def _is_plain_text(model: torch.nn.Module) -> bool:
    """Whether its text tower is the causal transformer of CLIP, read at the end of the text."""
    return isinstance(model, open_clip.CLIP) and model.text_pool_type == "argmax"


def _activation(visual: torch.nn.Module) -> Activation | None:
    kind = type(visual.transformer.resblocks[0].mlp.gelu)
    return {torch.nn.GELU: "gelu", open_clip.transformer.QuickGELU: "quick_gelu"}.get(kind)


def _text(model: torch.nn.Module, tokenizer) -> TextTransformer | PlainText:
    if not _is_plain_text(model):
        return PlainText(
            lambda sentences: model.encode_text(
                tokenizer(sentences).to(next(model.parameters()).device)
            )
        )
    project = model.text_projection
    return TextTransformer(
        tokenize=tokenizer,
        end=first_largest,
        embed=model.token_embedding,
        pos=model.positional_embedding,
        blocks=[_block(block) for block in model.transformer.resblocks],
        ln_final=model.ln_final,
        proj=project if isinstance(project, torch.nn.Module) else partial(_matmul, weight=project),
    )


def _vision(model: torch.nn.Module) -> VisionTransformer:
    visual = model.visual
    plain = visual.attn_pool is None and visual.pool_type == "tok"
    return VisionTransformer(
        patch_embed=visual.conv1,
        patch_size=visual.patch_size[0],
        cls=visual.class_embedding,
        pos=visual.positional_embedding,
        ln_pre=visual.ln_pre,
        blocks=[_block(block) for block in visual.transformer.resblocks],
        ln_post=visual.ln_post,
        proj=identity if visual.proj is None else partial(_matmul, weight=visual.proj),
        pool=None if plain else lambda x: visual._pool(x)[0],
    )


def _matmul(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x @ weight


def _block(block: torch.nn.Module) -> Block:
    if type(block) is not open_clip.transformer.ResidualAttentionBlock:
        raise BackboneError(
            f"Blocks of type {type(block).__name__} are not supported; choose a plain CLIP ViT."
        )
    attention, mlp = block.attn, block.mlp

    def feed(x: torch.Tensor, activation: Map | None) -> torch.Tensor:
        return mlp.c_proj((activation or mlp.gelu)(mlp.c_fc(x.to(mlp.c_fc.weight.dtype))))

    def qkv(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        return F.linear(x.to(weight.dtype), weight, bias).chunk(3, dim=-1)

    return Block(
        ln_1=block.ln_1,
        qkv=qkv,
        out=attention.out_proj,
        heads=attention.num_heads,
        ln_2=block.ln_2,
        mlp=feed,
        scale_1=block.ls_1,
        scale_2=block.ls_2,
    )
