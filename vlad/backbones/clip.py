"""CLIP backbones from a file of weights, or a folder in open_clip's layout.

open_clip itself is imported only if its vocabulary or one of its architectures is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import get_args

import torch

from vlad.backbones import weights
from vlad.backbones.backbone import Backbone
from vlad.backbones.modules import clip_backbone
from vlad.backbones.plain import MEAN, STD, PlainCLIP, is_plain
from vlad.errors import BackboneError
from vlad.system.resources import read_json
from vlad.types import Interpolation

CONFIG = "open_clip_config.json"
FILES = (
    "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin", "model.safetensors", "pytorch_model.safetensors",
    "pytorch_model.bin",
)  # fmt: skip


def from_file(path: Path, model: str | None = None) -> Backbone:
    """A CLIP checkpoint on disk: open_clip's .pt or .safetensors, or OpenAI's JIT archive.

    The architecture is `model` if given, else the JSON in open_clip's config format beside the file
    (same name, .json), else inferred from the shapes of the tensors.

    Raises:
        BackboneError: the file has no CLIP, or its tensors do not fit the architecture.
    """
    beside = path.with_suffix(".json")
    if model is not None:
        return _from_file(path.stem, path, partial(_named, model))
    return _from_file(path.stem, path, partial(read_config, beside) if beside.is_file() else dict)


def from_folder(folder: Path, tokenizer: Path | None) -> Backbone:
    """A folder in open_clip's layout: open_clip_config.json, weights, perhaps a tokenizer.

    Args:
        tokenizer: the folder of its tokenizer; None is the local cache or the model hub.

    Raises:
        BackboneError: weights or a tokenizer are missing or do not fit.
    """
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise BackboneError(f"{folder} has no weights; add one of {', '.join(FILES)}.")
    return _from_file(str(folder), file, partial(read_config, folder / CONFIG), tokenizer)


def _from_file(
    name: str, path: Path, read: Callable[[], dict], folder: Path | None = None
) -> Backbone:
    """A backbone of the tensors of a file.

    Args:
        read: gives an open_clip_config.json, with "model_cfg" and "preprocess_cfg", or the former's
            content; empty if there is none. The weights are read first: a file without any is what
            people should hear of.
        folder: where the files of its tokenizer are; None is the local cache or the model hub.
    """
    state, is_openai = weights.read_clip_state(path)
    found = read()
    config = found.get("model_cfg", found) or weights.infer_clip_config(state, path)
    if not isinstance(config, dict):
        raise BackboneError(f"The JSON of {path} is not an open_clip model config; correct it.")
    config.setdefault("quick_gelu", is_openai)
    _check_depth(config, state, path)
    built = _build(config, path)
    mean, std, interpolation = _look(found, path)
    if isinstance(built, PlainCLIP):
        weights.load_strictly(built, state, path)
        tokenizer = Tokenizer(len(state["positional_embedding"]))
        return clip_backbone(name, built, tokenizer, mean, std, interpolation=interpolation)
    from vlad.backbones import open_clip

    weights.load_strictly(built, open_clip.fit(built, state), path)
    tokenizer = open_clip.tokenizer_of(name, config, folder)
    return open_clip.as_backbone(name, built, tokenizer, mean, std, interpolation)


def _look(found: dict, path: Path) -> tuple[tuple[float, ...], tuple[float, ...], Interpolation]:
    """Pixel mean and std, and the interpolation, of "preprocess_cfg"; CLIP's if it says nothing."""
    look = found.get("preprocess_cfg", {})
    mean, std = look.get("mean", MEAN), look.get("std", STD)
    for values, above in ((mean, -math.inf), (std, 0)):
        numbers = isinstance(values, list | tuple) and len(values) == 3
        if not numbers or not all(type(x) in (int, float) and above < x < math.inf for x in values):
            raise BackboneError(
                f"mean and std in the config of {path} must be three numbers each, the latter "
                "above 0; correct them."
            )
    interpolation = look.get("interpolation", "bicubic")
    if interpolation not in get_args(Interpolation):
        raise BackboneError(
            f"interpolation in the config of {path} must be one of "
            f"{', '.join(get_args(Interpolation))}; correct it."
        )
    return tuple(mean), tuple(std), interpolation


def _check_depth(config: dict, state: dict, path: Path) -> None:
    """Raise a BackboneError for more blocks than tensors, before they are created."""
    for part in ("vision_cfg", "text_cfg"):
        layers = config[part].get("layers", 0) if isinstance(config.get(part), dict) else 0
        if isinstance(layers, int | float) and layers > len(state):
            raise BackboneError(
                f"The architecture given for {path} has {layers:g} layers, but the file has "
                f"{len(state)} tensors; correct the JSON beside it, or name the architecture."
            )


def _build(config: dict, path: Path) -> torch.nn.Module:
    """The model of a config in open_clip's format."""
    try:
        if is_plain(config):
            return PlainCLIP(config)
        from vlad.backbones.open_clip import build

        with weights.without_values():
            return build(config)
    except (
        TypeError, AttributeError, KeyError, ValueError, ArithmeticError, AssertionError,
        RuntimeError,
    ) as error:  # fmt: skip
        raise BackboneError(
            f"The architecture given for {path} is not an open_clip model config ({error}); "
            "correct the JSON beside it, or name the architecture."
        ) from error


def _named(model: str) -> dict:
    """The config of an open_clip architecture, and how its first weights want images."""
    import open_clip

    if model not in open_clip.list_models():
        raise BackboneError(
            f"open_clip has no architecture {model!r}; choose one of open_clip.list_models()."
        )
    config = open_clip.get_model_config(model)
    tags = open_clip.list_pretrained_tags_by_model(model)
    if is_plain(config) or not tags:
        return config
    return {"model_cfg": config, "preprocess_cfg": open_clip.get_pretrained_cfg(model, tags[0])}


def read_config(file: Path) -> dict:
    """The content of an open_clip_config.json.

    Raises:
        BackboneError: it is no JSON, or not a table.
    """
    try:
        config = read_json(file)
    except (OSError, ValueError) as error:
        raise BackboneError(f"{file} is not valid JSON ({error}); correct or remove it.") from None
    if not isinstance(config, dict):
        raise BackboneError(f"{file} is not an open_clip model config; correct or remove it.")
    return config


class Tokenizer:
    """CLIP's tokenizer, created on first use, because open_clip is slow to import.

    Args:
        context_length: number of tokens to pad a sentence to.
    """

    def __init__(self, context_length: int):
        self.context_length = context_length

    @cached_property
    def _simple(self):
        import open_clip

        return open_clip.SimpleTokenizer(context_length=self.context_length)

    def __call__(self, sentences: Sequence[str]) -> torch.Tensor:
        """(N, context length) token ids."""
        return self._simple(sentences)

    def encode(self, sentence: str) -> list[int]:
        """All token ids of a sentence, without those at both ends."""
        return self._simple.encode(sentence)

    def __getstate__(self) -> dict:
        return {"context_length": self.context_length}
