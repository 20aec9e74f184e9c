"""Backbones of Hugging Face transformers, from a local folder, the local cache or the model hub."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vlad.backbones import cached, network, weights
from vlad.backbones.backbone import Backbone
from vlad.backbones.text import PlainText, TextTransformer
from vlad.backbones.transformers.kind import Kind
from vlad.backbones.transformers.kinds import KINDS
from vlad.backbones.transformers.look import LOOK_FILES, Look, look_of
from vlad.backbones.transformers.words import Words
from vlad.errors import BackboneError
from vlad.system.resources import read_json
from vlad.system.text import shown
from vlad.types import BackboneInfo

Text = TextTransformer | PlainText
MAX_DEPTH = 256  # blocks of a backbone; the largest public ones have 64
WEIGHTS = ("model.safetensors", "pytorch_model.bin", *cached.INDEX)
CONVERSION = "DISABLE_SAFETENSORS_CONVERSION"


def from_hub(name: str) -> Backbone:
    """A model of one of KINDS, from the local cache or the model hub.

    Raises:
        BackboneError: a model of another kind, or weights that cannot be downloaded.
    """
    return _load(name)


def from_folder(path: Path) -> Backbone:
    """A model of one of KINDS in a folder that `save_pretrained` wrote.

    Raises:
        BackboneError: a folder without such a model.
    """
    weights.check_pickles(path)
    return _load(str(path))


def is_stored(name: str) -> bool:
    """Return whether configuration and weights of a model of the hub are in the local cache."""
    return cached.path_of(name, "config.json") is not None and cached.has_one(name, WEIGHTS)


def _is_whole(name: str) -> bool:
    """Whether a stored model needs no other file of its repository, by what was asked of it."""
    try:
        config = read_json(cached.path_of(name, "config.json") or Path())
        kind = KINDS[config["model_type"]]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    look, instead = LOOK_FILES
    needed = [look] if cached.path_of(name, look) else [look, instead]
    return cached.are_known(name, (*needed, *(cached.TOKENIZER if kind.text else ())))


def repository(name: str) -> str | None:
    """The repository of a model."""
    return name


def _load(name: str) -> Backbone:
    with reading(name) as options:
        kind, config = _config(name, options)
        look = look_of(name, kind, config, options)
        info = _info(name, kind, config, look)
        words = None
        if kind.text is not None:  # first, as it is small and may be refused
            text = config.text_config
            words = Words(text, name, options, kind.pad, kind.unread(text))
        model = _model(name, kind, config, options)
        read, settings = None, ""
        if words and kind.text:
            read = partial(_read, kind.text, words)
            settings = model.config.to_json_string() + words.identity
        parts = (kind.build, read, kind.blocks, look.mean, look.std)
        return Backbone(info, model, *parts, settings, look.interpolation)


def describe(name: str) -> BackboneInfo:
    """The description of a model for heads, from its configuration alone, without weights.

    Raises:
        BackboneError: as `from_hub`, of its config.json and preprocessor_config.json.
    """
    with reading(name) as options:
        kind, config = _config(name, options)
        return _info(name, kind, config, look_of(name, kind, config, options))


def _read(text: Callable[[Any, Words], Text], words: Words, model: Any) -> Text:
    return text(model, words)


def _info(name: str, kind: Kind, config: Any, look: Look) -> BackboneInfo:
    return replace(kind.info(name, config), preparation=look.preparation)


@contextmanager
def reading(name: str, remedy: str = network.REMEDY) -> Iterator[dict]:
    """The options to read from `name` with, its errors as one sentence each.

    Args:
        remedy: as in `vlad.backbones.network.from_network`.

    Raises:
        BackboneError: a folder without config.json, or any error of the library within.
    """
    local = Path(name).is_dir()
    if local and not (Path(name) / "config.json").is_file():
        raise BackboneError(
            f"{name} has no config.json; give a folder written by save_pretrained, or a weights "
            "file."
        )
    stored = not local and is_stored(name)
    whole = stored and _is_whole(name)
    with network.from_network(name, local, stored, remedy=remedy, whole=whole), _unconverted():
        alone = local or whole or network.is_offline()
        yield {"local_files_only": alone, "trust_remote_code": False}


@contextmanager
def _unconverted() -> Iterator[None]:
    """Keeps transformers from asking a service on the hub to convert someone else's .bin file."""
    before = os.environ.get(CONVERSION)
    os.environ[CONVERSION] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[CONVERSION]
        else:
            os.environ[CONVERSION] = before


def _config(name: str, options: dict) -> tuple[Kind, Any]:
    """The kind and the config of a model; nothing but config.json is read.

    Raises:
        BackboneError: another kind, code of its own, or too many blocks.
    """
    import transformers

    entries = transformers.PretrainedConfig.get_config_dict(name, **options)[0]
    model_type = entries.get("model_type")
    if model_type not in KINDS and "auto_map" in entries:
        raise BackboneError(
            f"{name} brings code of its own, which vlad never runs; choose a model that "
            f"transformers itself has, of type {', '.join(KINDS)}."
        )
    if model_type not in KINDS:
        kind = f"a {shown(model_type)} model" if isinstance(model_type, str) else "of no known type"
        raise BackboneError(f"{name} is {kind}; choose one of type {', '.join(KINDS)}.")
    check_depth(name, entries)
    found = KINDS[model_type]
    found.check(name, entries)
    config = transformers.AutoConfig.from_pretrained(name, **options)
    config._attn_implementation = (
        found.attention
    )  # it could name a kernel on the hub, which is code
    return found, config


def check_depth(name: str, config: dict) -> None:
    """Raise a BackboneError for too many blocks, before they are created."""
    for part in (config, *(config.get(f"{kind}_config") for kind in ("vision", "text"))):
        depth = _depth(part) if isinstance(part, dict) else None
        if isinstance(depth, int | float) and depth > MAX_DEPTH:
            raise BackboneError(
                f"The config.json of {name} has {depth:g} layers, over the limit of {MAX_DEPTH}; "
                "correct it."
            )


def _depth(part: dict) -> Any:
    """Blocks, or those of all stages."""
    stages = part.get("depths")
    if isinstance(stages, list) and all(isinstance(x, int | float) for x in stages):
        return sum(stages)
    return part.get("num_hidden_layers")


def _model(name: str, kind: Kind, config: Any, options: dict) -> Any:
    """The model with its weights.

    Raises:
        BackboneError: weights that are missing, of other shapes, or not finite.
    """
    import transformers

    made = kind.load(config) if kind.load else transformers.AutoModel
    try:
        model, found = made.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **kind.options,
            **options,
        )
    except pickle.UnpicklingError as error:
        raise BackboneError(
            f"The .bin file of {name} holds something else than tensors, which vlad never runs; "
            "give a model with .safetensors."
        ) from error
    check_weights(name, model, found["missing_keys"], found["mismatched_keys"])
    return model


def check_weights(
    name: str, model: Any, missing: Collection[str], unfit: Collection[tuple]
) -> None:
    """Raise a BackboneError for a weight that transformers would draw, or that is not finite."""
    if missing:
        raise BackboneError(f"Tensor {min(missing)} is missing from {name}; get a new copy.")
    for tensor, stored, needed in sorted(unfit):
        raise BackboneError(
            f"Tensor {tensor} of {name} has shape {tuple(stored)}, but its config.json asks for "
            f"{tuple(needed)}; get a new copy."
        )
    weights.check_finite(name, model)
