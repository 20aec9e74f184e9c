"""The settings of a saved detector, checked before use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlad.adapters import FILE as ADAPTER_FILE
from vlad.prompts import load_bank
from vlad.system.resources import read_json

BANK_FILE = "bank.toml"
_TEXTS = ("head", "backbone", "device", "dtype", "runtime")
_MAYBE_TEXTS = ("category", "bank", "weights", "cache")
_DTYPES = ("float32", "bfloat16", "float16", "int8")
_LONGEST = 4096  # characters of a text, enough for a path


def read_settings(folder: Path) -> dict[str, Any]:
    """The arguments of the Detector saved in a folder; it checks their numbers itself.

    Its bank is there as it is, and so is, as `weights`, the hash of its backbone's numbers.

    Raises:
        OSError: detector.json is unreadable.
        PromptError: its bank is damaged.
        ValueError: it is invalid; the message states why.
    """
    found = read_json(folder / "detector.json")
    if not isinstance(found, dict):
        raise ValueError("detector.json is not a table")
    for names, fits in (
        (_TEXTS, _is_text),
        (_MAYBE_TEXTS, lambda value: value is None or _is_text(value)),
        (("head_params",), lambda value: value is None or isinstance(value, Mapping)),
    ):
        for name in names:
            if name in found and not fits(found[name]):
                raise ValueError(f"the {name} in detector.json has the wrong type")
    if found.get("dtype", _DTYPES[0]) not in _DTYPES:
        raise ValueError("the dtype in detector.json is unknown")
    if ":" in found.get("head", ""):
        raise ValueError("its head is a file, whose code is not run")
    params = found.get("head_params") or {}
    if params.get("adapter") == ADAPTER_FILE:  # the copy beside it
        params["adapter"] = str(folder / ADAPTER_FILE)
    if found.get("bank") == BANK_FILE:
        found["bank"] = load_bank(folder / BANK_FILE)
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST
