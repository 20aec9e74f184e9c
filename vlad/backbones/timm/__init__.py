"""Backbones of timm: by name and pretrained tag, or from a folder in its layout."""

from __future__ import annotations

import difflib
import json
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.models import get_pretrained_cfg

from vlad.backbones import cached, network, weights
from vlad.backbones.backbone import Backbone
from vlad.backbones.block import identity
from vlad.backbones.generic import GenericEncoder
from vlad.backbones.timm import encoder, native
from vlad.backbones.vit import VisionTransformer
from vlad.errors import BackboneError
from vlad.types import BackboneInfo

PREFIX = "timm/"
FILES = ("model.safetensors", "pytorch_model.bin")
MAX_DEPTH = 256  # blocks, or blocks of a stage; the largest public ones have 64
# what lets a network of one input size take others, as the constructors name it
ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False})


def describe(name: str) -> BackboneInfo:
    """The description of a pretrained network for heads, without its weights.

    Raises:
        BackboneError: timm does not know the name, or has no weights for it.
    """
    return _draft(_known(name), name)[0]


def describe_folder(path: Path, name: str) -> BackboneInfo:
    """The description of a network from its config.json.

    Raises:
        BackboneError: as `check_config`.
    """
    check_config(path, json.loads((path / "config.json").read_text(encoding="utf-8")))
    return _draft(f"local-dir:{path}", name)[0]


def from_hub(name: str) -> Backbone:
    """A pretrained network, from the local cache or the model hub.

    Args:
        name: as in "timm/vit_base_patch16_dinov3.lvd1689m"; without a tag, timm's default.

    Raises:
        BackboneError: an unknown name or tag, or weights that cannot be downloaded.
    """
    model = _known(name)
    info, options = _draft(model, name)
    stored = is_stored(name)
    with network.from_network(name, whole=stored):
        if not stored and network.is_offline():  # timm would fetch an address outside of the hub
            raise FileNotFoundError(name)
        return _pretrained_backbone(model, options, info)


def from_folder(path: Path) -> Backbone:
    """A folder with config.json and weights, as timm saves it or its repositories hold it.

    Raises:
        BackboneError: weights are missing or do not fit, or an unknown architecture.
    """
    name = str(path)
    with network.from_network(name, local=True):
        check_config(path, json.loads((path / "config.json").read_text(encoding="utf-8")))
        source = f"local-dir:{path}"
        info, options = _draft(source, name)
        file = path / FILES[0]
        if file.is_file():
            model = timm.create_model(source, **options)
            state, own = load_file(file), model.state_dict()
            if len(own.keys() & state.keys()) > len(own) / 2:  # else of another library's names
                weights.load_strictly(model, state, file)
                return _backbone(model, info)
        weights.check_pickles(path)
        return _pretrained_backbone(source, options, info)


def repository(name: str) -> str | None:
    """The repository of a network's weights; None if they are at another address."""
    return _pretrained(name).hf_hub_id


def folder_config(name: str) -> dict[str, Any]:
    """The config.json of a pretrained network, as its library knows it.

    Raises:
        BackboneError: timm does not know the name, or has no weights for it.
    """
    known = _pretrained(name).to_dict(remove_source=True, remove_null=True)
    top = {"architecture": known.pop("architecture"), "num_classes": known["num_classes"]}
    return top | {"pretrained_cfg": known}


def is_stored(name: str) -> bool:
    """Return whether weights of a network are in the local cache.

    Raises:
        BackboneError: timm does not know the name, or has no weights for it.
    """
    config = _pretrained(name)
    if config.hf_hub_id:
        files = [config.hf_hub_filename] if config.hf_hub_filename else FILES
        return cached.has_one(config.hf_hub_id, files)
    file = Path(torch.hub.get_dir()) / "checkpoints" / str(config.url).rpartition("/")[2]
    return file.is_file()


def _pretrained_backbone(source: str, options: dict, info: BackboneInfo) -> Backbone:
    model = timm.create_model(source, pretrained=True, **options)
    weights.check_finite(info.name, model)
    return _backbone(model, info)


def _pretrained(name: str) -> Any:
    """timm's record of the weights of a network."""
    return get_pretrained_cfg(_known(name))


def _known(name: str) -> str:
    """timm's own name of a network that has weights."""
    model = name.removeprefix(PREFIX)
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), 3, 0.5)
        raise BackboneError(
            f"timm has no network {architecture!r} (near are {', '.join(near) or 'none'}); choose "
            "one of timm.list_models()."
        )
    tags = [found.partition(".")[2] for found in timm.list_pretrained(f"{architecture}.*")]
    if tag not in ("", *tags) or not tags:
        raise BackboneError(
            f"Network {architecture} of timm has no pretrained tag {tag!r} (it has "
            f"{', '.join(tags) or 'none'}); choose another."
        )
    return model


def check_config(path: Path, config: dict[str, Any]) -> None:
    """Raise a BackboneError for an unknown network or too many blocks, before they are made."""
    architecture = config["architecture"]
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise BackboneError(
            f"The config.json of {path} names the architecture {architecture!r}, which this timm "
            "does not have; correct it, or install a newer timm."
        )
    arguments = config.get("model_args", {})
    for key in ("depth", "depths", "layers"):
        for depth in _numbers(arguments.get(key)):
            if depth > MAX_DEPTH:
                raise BackboneError(
                    f"The config.json of {path} has {depth:g} blocks, over the limit of "
                    f"{MAX_DEPTH}; correct it."
                )


def _numbers(value: Any) -> list[float]:
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [value] if isinstance(value, int | float) else []


def _draft(source: str, name: str) -> tuple[BackboneInfo, dict[str, Any]]:
    """The description of a network, without its weights, and what lets it take any input size."""
    with torch.device("meta"):  # shapes without values
        model: Any = timm.create_model(source)
        fixed = bool(model.pretrained_cfg.get("fixed_input_size"))
        for options in ANY_SIZE if fixed and not native.is_plain(model) else ():
            try:
                return _info(name, timm.create_model(source, **options), False), options
            except TypeError:  # an option that this network does not know
                continue
    return _info(name, model, fixed), {}


def _info(name: str, model: Any, fixed_size: bool) -> BackboneInfo:
    channels, _, side = model.pretrained_cfg["input_size"]
    if channels != 3:
        raise BackboneError(f"{name} takes images of {channels} channels; choose one for RGB.")
    return encoder.info(
        name, model, embed_dim=model.head_hidden_size, image_size=side, fixed_size=fixed_size
    )


def _backbone(model: Any, info: BackboneInfo) -> Backbone:
    if hasattr(model, "reset_classifier"):  # its weights were needed to see that none is missing
        model.reset_classifier(0)
    config = model.pretrained_cfg
    return Backbone(
        info,
        model,
        _vision,
        None,
        attrgetter("blocks") if native.is_plain(model) else None,
        tuple(config["mean"]),
        tuple(config["std"]),
        f"{model} {getattr(model, 'global_pool', None)} {config}",  # what is not in the tensors
        interpolation=config["interpolation"],
    )


def _vision(model: Any) -> VisionTransformer | GenericEncoder:
    return encoder.build(model, identity, partial(encoder.pooled, model))
