"""A calibration as a JSON file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np

from vlad.calibration.calibration import Calibration
from vlad.calibration.drift.looks import read_looks
from vlad.calibration.fusion import METHODS
from vlad.errors import InputError
from vlad.system.files import atomic_write
from vlad.system.formats import FORMAT, check_format
from vlad.system.resources import read_json
from vlad.system.text import encode, shown

_KIND = "vlad calibration"
_SCORES = ("reference", "defects", "holdout")


def save_calibration(calibration: Calibration, path: str | os.PathLike) -> Path:
    """Write a calibration.

    Raises:
        OutputError: the file is not writable.
    """
    return atomic_write(Path(path), calibration_bytes(calibration))


def calibration_bytes(calibration: Calibration) -> bytes:
    """The content of the file of a calibration."""
    bare = asdict(replace(calibration, drift=None))
    drift = calibration.drift and calibration.drift.content()
    content = {"kind": _KIND, "format": FORMAT, **bare, "drift": drift}
    for part in _SCORES:
        scores = getattr(calibration, part)
        content[part] = {head: np.asarray(x).tolist() for head, x in scores.items()}
    return encode(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def load_calibration(path: str | os.PathLike) -> Calibration:
    """Read a file written by `save_calibration`.

    Raises:
        InputError: the file is missing, damaged, or of a newer vlad.
    """
    names = [f.name for f in fields(Calibration)]
    try:
        content = read_json(Path(path))
        if content.pop("kind", None) != _KIND:
            raise ValueError("it is other JSON")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _no_calibration(path, error) from error
    check_format(content, names, path)
    # older files have none of these
    content = {"names": [], "notes": [], "defects": {}, "holdout": {}, "drift": None, **content}
    try:
        if content["drift"] is not None:
            content["drift"] = read_looks(content["drift"])
        found = Calibration(**{name: content[name] for name in names})
        _check(found)
    except (ValueError, TypeError, KeyError, AttributeError, InputError) as error:
        raise _no_calibration(path, error) from error
    return found


def _no_calibration(path: str | os.PathLike, error: Exception) -> InputError:
    reason = f"it lacks {error}" if isinstance(error, KeyError) else shown(error)
    return InputError(f"{path} is not a calibration ({reason}); make one with `vlad calibrate`.")


def _check(found: Calibration) -> None:
    """Raise an error for `load_calibration` to explain."""
    if found.source not in get_args(get_type_hints(Calibration)["source"]):
        raise ValueError("its source is unknown")
    if not isinstance(found.settings, dict):
        raise ValueError("its settings are not a table")
    if not all(
        isinstance(part, list) and all(isinstance(x, str) for x in part)
        for part in (found.names, found.notes)
    ):
        raise ValueError("its names or notes are not lists of text")
    if found.share is not None and not (
        _are_numbers(found.share) and set(found.share) == {"mean", "low", "high"}
    ):
        raise ValueError("its share is not given as mean, low and high")
    if not all(map(_are_numbers, (found.thresholds, found.rates, found.map_thresholds))):
        raise ValueError("one of its numbers is invalid")
    lists = [x for part in _SCORES for x in getattr(found, part).values()]
    lists += found.edges.values()
    if not all(isinstance(part, list) and all(map(_is_number, part)) for part in lists):
        raise ValueError("its scores or its edges are not lists of numbers")
    for scores in filter(None, (found.defects, found.holdout)):
        sizes = {len(x) for x in scores.values()}
        if set(scores) != set(found.reference) or len(sizes) != 1 or 0 in sizes:
            raise ValueError("its defects or its holdout are not scores of its heads")
    if found.drift and {len(x) for x in found.reference.values()} != {len(found.drift.sharpness)}:
        raise ValueError("it does not say how each of its images looks")
    if found.source == "number":
        if set(found.thresholds) != set(found.reference):
            raise ValueError("its thresholds are not those of its heads")
        return
    counts = {len(scores) for scores in found.reference.values()}
    if len(counts) != 1 or not min(counts):
        raise ValueError("its heads have different numbers of reference scores")
    if found.names and {len(found.names)} != counts:
        raise ValueError("it does not name each of its images")
    numbers: list[Any] = list(lists)
    parts = (found.thresholds, found.rates, found.map_thresholds)
    numbers += [list(part.values()) for part in parts]
    if any(np.isnan(np.asarray(x, float)).any() for x in numbers if len(x)):
        raise ValueError("one of its numbers is NaN")
    if found.method is not None and found.method not in METHODS:
        raise ValueError(f"it is fused by {found.method!r}")
    names = {*found.reference, *(["fused"] if found.method else [])}
    if set(found.thresholds) != names or set(found.rates) != names:
        raise ValueError("its thresholds are not those of its heads")


def _is_number(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _are_numbers(part: object) -> bool:
    return isinstance(part, dict) and all(map(_is_number, part.values()))
