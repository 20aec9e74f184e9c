"""Which files detectors and adapters consist of: none else is sent or fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from vlad.adapters import CARD, FILE
from vlad.backbones.fetch import SMALL
from vlad.detector.files import FILES, WEIGHTS
from vlad.errors import HubError

_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_NEEDED = {"detector": ("detector.json", "memory.safetensors"), "adapter": (FILE, CARD)}


def known(paths: Iterable[str], kind: str) -> list[str]:
    """Those of some paths that a detector or an adapter may consist of, in order."""
    if kind == "adapter":
        return sorted(set(paths) & {FILE, CARD})
    return sorted(path for path in paths if path in FILES or is_weights(path))


def is_weights(path: str) -> bool:
    """Return whether it is a file of a backbone inside a detector that holds data alone."""
    folder, _, name = path.rpartition("/")
    data = any(fnmatchcase(name, pattern) for pattern in ("*.safetensors", *SMALL))
    return folder == WEIGHTS and data and re.fullmatch(r"\w[\w.+-]*", name, re.ASCII) is not None


def check_kind(where: str, paths: Iterable[str], kind: str) -> None:
    """Check that paths are those of a detector or of an adapter, whose weights are no pickles.

    Args:
        where: what holds them.

    Raises:
        HubError: they are not, or a file is missing.
    """
    paths = set(paths)
    found = next((other for other, names in _NEEDED.items() if names[0] in paths), None)
    if found not in (None, kind):
        raise HubError(
            f"What {where} holds is of kind {found}, not {kind}; use the command for that kind."
        )
    if missing := [name for name in _NEEDED[kind] if name not in paths]:
        raise HubError(f"{where} holds no {kind}: it lacks {missing[0]}; name another.")
    pickles = [p for p in paths if p.startswith(f"{WEIGHTS}/") and p.endswith(_PICKLES)]
    if kind == "detector" and pickles:
        raise HubError(
            f"{where} has weights in a pickle ({min(pickles)}), which can hold code; save them as "
            "safetensors, and fit the detector with those."
        )
