"""The settings of a saved detector, checked before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vlad.adapters import FILE as ADAPTER_FILE
from vlad.system.resources import read_json

_TEXTS = ("head", "backbone", "device", "dtype", "runtime")
_MAYBE_TEXTS = ("category", "bank")
_COUNTS = ("batch_size", "max_pixels", "bits")
_MAYBE_COUNTS = ("image_size", "tile")
_DTYPES = ("float32", "bfloat16", "float16")
_LONGEST = 4096  # characters of a text: those of a path
_LARGEST = 2**40  # of any count; torch and Pillow take no larger ones


def read_settings(folder: Path) -> dict:
    """The arguments of the Detector that was saved in a folder.

    Raises:
        OSError: detector.json cannot be read.
        ValueError: it holds something else; the message says what.
    """
    found = read_json(folder / "detector.json")
    if not isinstance(found, dict):
        raise ValueError("detector.json is no table")
    for names, fits in (
        (_TEXTS, _is_text),
        (_MAYBE_TEXTS, lambda value: value is None or _is_text(value)),
        (_COUNTS, _is_count),
        (_MAYBE_COUNTS, lambda value: value is None or _is_count(value)),
        (("overlap",), lambda value: type(value) in (int, float) and 0 <= value < 1),
        (("head_params",), lambda value: value is None or isinstance(value, Mapping)),
    ):
        for name in names:
            if name in found and not fits(found[name]):
                raise ValueError(f"the {name} in detector.json cannot be")
    if found.get("dtype", _DTYPES[0]) not in _DTYPES:
        raise ValueError("the dtype in detector.json cannot be")
    params = found.get("head_params") or {}
    if params.get("adapter") == ADAPTER_FILE:  # the copy beside it
        params["adapter"] = str(folder / ADAPTER_FILE)
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value < _LARGEST
