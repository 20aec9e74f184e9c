"""Copies the weights of a backbone into a folder that needs neither cache nor network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from vlad.backbones import EMBEDDED, clip, load_backbone, remote_source
from vlad.backbones.backbone import Backbone
from vlad.backbones.fetch import WEIGHTS, Part, cached_files, write_configs
from vlad.errors import BackboneError
from vlad.system.files import cannot_write


def carry(name: str, backbone: Backbone, folder: Path) -> str:
    """Copy a loaded backbone into a folder -> the name that loads the copy.

    Args:
        name: the name that it was loaded under; one that ships with vlad needs no copy, nor one
            that is in the folder.
        folder: created if missing; what is there is replaced.

    Raises:
        BackboneError: it is of another package, its files are not in the local cache, or the copy
            does not have its weights.
        OutputError: the folder cannot be written.
    """
    if name in EMBEDDED:
        return name
    model, _, path = name.rpartition("=") if not os.path.exists(name) else ("", "", name)
    if os.path.exists(path) and Path(path).resolve().is_relative_to(folder.resolve()):
        return name  # it is that copy
    configs: dict[str, Any] = {}
    if os.path.isfile(path):
        files = [Path(path)]
        if (beside := Path(path).with_suffix(".json")).is_file():
            files.append(beside)
    elif os.path.isdir(path):
        files = _chosen(Path(path))
    else:
        files, configs = _cached(name)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, folder / file.name)
        write_configs(configs, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    alone = os.path.isfile(path) or model
    copy = str(folder / files[0].name if alone else folder)
    copy = f"{model}={copy}" if model else copy
    if _facts(load_backbone(copy, "cpu")) != _facts(backbone):
        raise BackboneError(
            f"The copy of {name} has other weights than the backbone in use, or reads images "
            "otherwise; leave the weights out of the detector, and carry them by `vlad backbones "
            "fetch`."
        )
    return copy


def _facts(backbone: Backbone) -> tuple[object, ...]:
    """What a copy has in common with a backbone, whatever library loads them."""
    return backbone.weights, backbone.mean, backbone.std, backbone.interpolation


def _chosen(folder: Path) -> list[Path]:
    """Configurations, tokenizer and one form of the weights in a folder."""
    part = Part(
        str(folder), clip.FILES if (folder / clip.CONFIG).is_file() else WEIGHTS, ignored=""
    )
    return [folder / file for file in part.choose([file.name for file in folder.iterdir()])]


def _cached(name: str) -> tuple[list[Path], dict[str, Any]]:
    """The files in the local cache, and the JSON to write beside them."""
    if remote_source(name) is None:
        raise BackboneError(
            f"{name} is a backbone of another package, which holds its weights; leave them out of "
            "the detector, and install that package on the other machine too."
        )
    return cached_files(name)
