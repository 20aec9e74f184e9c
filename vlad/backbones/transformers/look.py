"""What preprocessor_config.json says of the images that a model was trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlad.backbones import cached
from vlad.backbones.transformers.kind import PLAIN_LOOK, Kind
from vlad.errors import BackboneError
from vlad.system.resources import read_json
from vlad.types import Interpolation

# by the numbers that Pillow gave them, and the file names
INTERPOLATIONS: tuple[Interpolation, ...] = (
    "nearest", "lanczos", "bilinear", "bicubic", "box", "hamming",
)  # fmt: skip
# file -> the entry in it; since transformers 5 that of the whole processor
LOOK_FILES = {"preprocessor_config.json": None, "processor_config.json": "image_processor"}


@dataclass(frozen=True)
class Look:
    """How images come to a model.

    Attributes:
        mean, std: of the pixels, per channel, in [0, 1] units.
        interpolation: how they are resized.
        preparation: what the file says, in words.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation
    preparation: str = ""


def look_of(name: str, kind: Kind, config: Any, options: dict) -> Look:
    """The look of a model: of its own file, else of its kind.

    Raises:
        BackboneError: a damaged file, or one that may exist and is not in the local cache; means,
            standard deviations or an interpolation that cannot be.
    """
    file = _read(name, options["local_files_only"])
    file = file or dict(getattr(config, "pretrained_cfg", None) or {})  # of timm, in config.json
    if not (file or Path(name).is_dir() or cached.are_known(name, LOOK_FILES)):
        raise BackboneError(  # else another look would pass for that of the model
            f"preprocessor_config.json, which tells how {name} wants images, is not in the local "
            "cache; connect once, or give the folder of its files as `backbone` if it has no such "
            "file."
        )
    mean, std = (file.get(f"image_{x}", file.get(x)) for x in ("mean", "std"))
    if file.get("do_normalize") is False:
        mean, std = PLAIN_LOOK
    if mean is None or std is None:
        mean, std = kind.look
    resample = file.get("resample", file.get("interpolation"))
    if type(resample) is int and 0 <= resample < len(INTERPOLATIONS):
        resample = INTERPOLATIONS[resample]
    chosen = kind.interpolation if resample is None else resample
    if chosen not in INTERPOLATIONS:
        raise BackboneError(
            f"resample in preprocessor_config.json of {name} must be a number from 0 to 5, as "
            "Pillow has them; correct it."
        )
    return Look(*_checked(name, mean, std), chosen, _words(file, chosen))


def _checked(name: str, *given: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = (tuple(x) if isinstance(x, list | tuple) else () for x in given)
    numbers = all(type(x) in (int, float) and abs(x) < math.inf for x in mean + std)
    if not numbers or not len(mean) == len(std) == 3 or min(std) <= 0:
        raise BackboneError(
            f"image_mean and image_std in preprocessor_config.json of {name} must be three numbers "
            "each, the latter above 0; correct them."
        )
    return mean, std


def _read(name: str, local: bool) -> dict:
    """The entries of the file; none if there is none.

    Raises:
        BackboneError: it is no table in JSON.
    """
    for file, inside in LOOK_FILES.items():
        if (found := _file(name, file, local)) is None:
            continue
        try:
            entries = read_json(found)
        except (OSError, ValueError):
            entries = None
        if not isinstance(entries, dict):
            raise BackboneError(f"{file} of {name} is no table in JSON; get a new copy.")
        if isinstance(chosen := entries.get(inside) if inside else entries, dict):
            return chosen
    return {}


def _file(name: str, file: str, local: bool) -> Path | None:
    """A file of a folder or a repository; None if it has none.

    Raises:
        Exception: the hub client's, if it could not find out: without this file another look would
            pass for that of the model.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if Path(name).is_dir():
        return found if (found := Path(name) / file).is_file() else None
    try:
        return Path(hf_hub_download(name, file, local_files_only=local))
    except LocalEntryNotFoundError:  # the hub was not asked, or failed
        missing = try_to_load_from_cache(name, file) is not None  # it said so before
        if not (local or missing or constants.HF_HUB_OFFLINE):
            raise
    except EntryNotFoundError:
        pass
    return None


def _words(file: dict, interpolation: Interpolation) -> str:
    """In words: resize to 256 (shortest edge), bicubic; crop the middle 224×224."""
    parts = []
    if file.get("do_resize", "size" in file) and (size := _size(file.get("size"))):
        parts.append(f"resize to {size}, {interpolation}")
    if file.get("do_center_crop") and (size := _size(file.get("crop_size"))):
        parts.append(f"crop the middle {size}")
    return "; ".join(parts)


def _size(given: Any) -> str:
    if isinstance(given, dict) and {"height", "width"} <= given.keys():
        return f"{given['height']}×{given['width']}"
    if isinstance(given, dict):
        return ", ".join(f"{value} ({key.replace('_', ' ')})" for key, value in given.items())
    return f"{given}×{given}" if isinstance(given, int) else ""
