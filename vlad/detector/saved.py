"""A detector as a folder: detector.json, what its head learned, its bank, adapter, calibration."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlad.adapters import FILE as ADAPTER_FILE
from vlad.adapters import find_adapter, read_adapter, save_adapter
from vlad.backbones.backbone import Backbone
from vlad.backbones.carry import carry
from vlad.calibration import Calibration, load_calibration, save_calibration
from vlad.calibration.copies import check_marks
from vlad.detector.files import (
    BANKS,
    CALIBRATION,
    FILES,
    MEMORY,
    QUESTION,
    ROI,
    SETTINGS,
    WEIGHTS,
    bank_files,
    check_files,
    check_present,
    is_record,
    record,
)
from vlad.detector.replacing import complete, is_replaced
from vlad.errors import InputError, PromptError
from vlad.images import DEFAULT_MAX_PIXELS
from vlad.images.interest import read_region
from vlad.prompts import PromptBank, load_bank
from vlad.scoring.setup import Setup
from vlad.system.files import atomic_write
from vlad.system.formats import FORMAT, check_format
from vlad.system.resources import check_regular, read_json
from vlad.system.text import shown
from vlad.vlm.prompts import prompt_names

_MARKS = "marks of images"  # beside the tensors of the head
_TEXTS = ("head", "backbone", "device", "dtype", "runtime")
_MAYBE_TEXTS = ("category", *BANKS, "weights", "cache")
_DTYPES = ("float32", "bfloat16", "float16", "int8")
_FIELDS = {
    *("head", "category", "head_params", "weights", "learned", "calibrated", "files"),
    *(field.name for field in fields(Setup)),
}
_LONGEST = 4096  # characters of a text, enough for a path


@dataclass(frozen=True)
class Saved:
    """What the folder of a detector holds.

    Attributes:
        settings: the arguments of `vlad.detector.Detector`.
        weights: hash of its backbone's numbers; None if it was never loaded.
        memory: what its head learned, by name.
        marks: of the images that it learned from (see `vlad.calibration.copies`).
        learned: name -> digest of these images.
        calibration: its calibration, if it has one.
    """

    settings: Mapping[str, Any]
    weights: str | None
    memory: Mapping[str, torch.Tensor]
    marks: list[np.ndarray]
    learned: Mapping[str, str]
    calibration: Calibration | None


def write_detector(
    saved: Saved, folder: Path, backbone: Backbone | None = None, home: Path | None = None
) -> None:
    """Write a detector as data, never pickles.

    Args:
        backbone: its backbone, if the weights are to be copied into the folder.
        home: the folder that its files will be moved to, whose copy of the weights `folder` holds
            too; None is `folder`.

    Raises:
        AdapterError: its adapter no longer exists.
        BackboneError: as `vlad.backbones.carry.carry`.
        OutputError: the folder is not writable.
    """
    from safetensors.torch import save

    tensors = {name: x.contiguous().cpu() for name, x in saved.memory.items()}
    if saved.marks:
        tensors[_MARKS] = torch.from_numpy(np.stack(saved.marks))
    # its cache is a folder of this machine
    settings = {"format": FORMAT, **saved.settings, "cache": None}
    params, own = settings["head_params"] or {}, [MEMORY]
    if adapter := params.get("adapter"):
        save_adapter(read_adapter(find_adapter(adapter)), folder)
        own.append(ADAPTER_FILE)
        settings["head_params"] = {**params, "adapter": ADAPTER_FILE}
    if (question := params.get("question")) and question not in prompt_names():
        atomic_write(folder / QUESTION, Path(question).read_bytes())
        settings["head_params"] = {**params, "question": QUESTION}
        own.append(QUESTION)
    if backbone:
        settings["backbone"] = carry(settings["backbone"], backbone, folder / WEIGHTS)
    settings["backbone"] = _found_again(settings["backbone"], home or folder)
    if f"./{WEIGHTS}" not in settings["backbone"]:  # of an earlier save
        shutil.rmtree(folder / WEIGHTS, ignore_errors=True)
    if saved.weights:
        settings["weights"] = saved.weights
    if saved.learned:
        settings["learned"] = dict(saved.learned)
    for name in BANKS:
        if isinstance(bank := settings[name], PromptBank):
            settings[name] = f"{name}{bank.suffix}"
            atomic_write(folder / settings[name], bank.content)
            own.append(settings[name])
    if region := settings["roi"]:
        atomic_write(folder / ROI, region.png)
        settings["roi"] = ROI
        own.append(ROI)
    atomic_write(folder / MEMORY, save(tensors))
    if saved.calibration:
        save_calibration(saved.calibration, folder / CALIBRATION)
        own.append(CALIBRATION)
    for name in set(FILES) - {SETTINGS, *own}:  # of an earlier save
        (folder / name).unlink(missing_ok=True)
    settings["files"] = record(folder, own)
    text = json.dumps(settings, indent=1, default=os.fspath)
    atomic_write(folder / SETTINGS, text.encode())


def _found_again(backbone: str, folder: Path) -> str:
    """The name of a backbone with its file from the folder on, if it is inside, else absolute."""
    model, equals, path = (
        backbone.rpartition("=") if not os.path.exists(backbone) else ("", "", backbone)
    )
    if not os.path.exists(path):
        return backbone
    path, own = os.path.abspath(path), os.path.abspath(folder)
    inside = path.startswith(os.path.join(own, WEIGHTS))
    return f"{model}{equals}{'./' + os.path.relpath(path, own) if inside else path}"


def read_detector(folder: Path) -> Saved:
    """Read a folder of `write_detector`.

    Raises:
        InputError: it has no detector, or a damaged one, one copied in part, or one of a newer
            vlad.
        OutputError: a replacement of it was stopped half-way, and cannot be completed.
    """
    while True:
        complete(folder)
        before = _stamp(folder)
        try:
            found = _read(folder)
        except InputError:
            if _stamp(folder) == before and not is_replaced(folder):
                raise
            continue
        if _stamp(folder) == before and not is_replaced(folder):
            return found


def _stamp(folder: Path) -> tuple[int, int] | None:
    """Tells whether a detector is replaced while it is read."""
    with suppress(OSError):
        found = (folder / SETTINGS).stat()
        return found.st_ino, found.st_mtime_ns
    return None


def _read(folder: Path) -> Saved:
    from safetensors.torch import load_file

    with _explained(folder):
        settings = read_json(folder / SETTINGS)
        if not isinstance(settings, dict):
            raise ValueError("detector.json is not a table")
    check_format(settings, _FIELDS, folder / SETTINGS)
    with _explained(folder):
        files, calibrated = settings.pop("files", None), settings.pop("calibrated", False)
        if files is not None and not is_record(files):
            raise ValueError("its files in detector.json are not paths with digests")
    if files is not None:
        check_files(folder, files)
    elif calibrated:  # all that an earlier version recorded
        check_present(folder, [CALIBRATION])
    with _explained(folder):
        _check_settings(settings, folder)
        settings.pop("format", None)
        weights, learned = settings.pop("weights", None), settings.pop("learned", {})
        check_regular(folder / MEMORY)
        # mapped tensors would end the process once somebody overwrites their file
        memory = {name: x.clone() for name, x in load_file(folder / MEMORY).items()}
        packed = memory.pop(_MARKS, None)
        marks = [] if packed is None else list(check_marks(packed.numpy()))
        if not all(x.is_floating_point() and x.isfinite().all() for x in memory.values()):
            raise ValueError("its memory has NaN or infinity")
    file = folder / CALIBRATION
    calibration = load_calibration(file) if file.exists() else None
    return Saved(settings, weights, memory, marks, learned, calibration)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn what may be wrong with foreign files into one sentence."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, TypeError, InputError, PromptError, SafetensorError) as error:
        raise InputError(
            f"{folder} has no saved detector ({shown(error)}); save one first."
        ) from error


def _check_settings(found: dict[str, Any], folder: Path) -> None:
    """Raise an error for `_explained`, or put the bank and the adapter beside it in place."""
    for names, fits in (
        (_TEXTS, _is_text),
        (_MAYBE_TEXTS, lambda value: value is None or _is_text(value)),
        (("head_params",), lambda value: value is None or isinstance(value, Mapping)),
        (
            ("learned",),
            lambda value: isinstance(value, Mapping) and all(map(_is_text, value.values())),
        ),
    ):
        for name in names:
            if name in found and not fits(found[name]):
                raise ValueError(f"the {name} in detector.json has the wrong type")
    if found.get("roi") not in (None, ROI) or found.get("roi_ignore") is not None:
        raise ValueError(f"the region of interest in detector.json is not {ROI}")
    if found.get("dtype", _DTYPES[0]) not in _DTYPES:
        raise ValueError("the dtype in detector.json is unknown")
    if ":" in found.get("head", ""):
        raise ValueError("its head is a file, whose code is not run")
    Setup(**{f.name: found[f.name] for f in fields(Setup) if f.name in found})  # checks ranges
    model, equals, path = found.get("backbone", "").rpartition("=")
    if path.startswith(f"./{WEIGHTS}"):  # the copy inside
        found["backbone"] = f"{model}{equals}{folder / path}"
    params = found.get("head_params") or {}
    if params.get("adapter") == ADAPTER_FILE:  # the copy beside it
        params["adapter"] = str(folder / ADAPTER_FILE)
    if params.get("question") == QUESTION:
        params["question"] = str(folder / QUESTION)
    if found.get("roi"):
        found["roi"] = read_region(folder / ROI, found.get("max_pixels", DEFAULT_MAX_PIXELS))
    for name in BANKS:
        if found.get(name) in bank_files(name):
            found[name] = load_bank(folder / found[name])


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST
