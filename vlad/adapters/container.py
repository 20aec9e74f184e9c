"""Open a file of an authors' program: the tensors in it by name, and nothing run.

`torch.load(weights_only=True)` refuses every class but those of tensors. Programs save settings,
optimisers and numpy scalars beside the tensors; these become objects that hold nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch

from vlad.adapters import LONGEST
from vlad.errors import AdapterError
from vlad.system.pickles import Refused
from vlad.system.text import shown
from vlad.system.torch_file import load_torch, plain

# classes that say how a training was set up
_SETTINGS = re.compile(
    r"argparse\.Namespace|functools\.partial|pathlib\.(Pure)?(Posix|Windows)?Path|typing\.\w+"
    r"|collections\.defaultdict|builtins\.(dict|list|int|float|str|bool)"
    r"|numpy\.dtype|numpy\.dtypes\.\w+|numpy\.(core|_core)\.multiarray\.scalar"
    r"|torch\.(optim|nn\.modules)\.[\w.]+|(omegaconf|lightning|pytorch_lightning|src)\.[\w.]+"
)


def read_tensors(file: Path, entries: Sequence[str], head: str) -> dict[str, torch.Tensor]:
    """Name -> tensor of a file of `torch.save`, mapped from the disk if it is a zip archive.

    Args:
        entries: keys of the file's dict that hold the tensors; () if the dict itself does. A dict
            without any of them is taken to hold the tensors itself.
        head: whose checkpoint it should be, for errors.

    Raises:
        AdapterError: reading would run code, or the file holds something other than tensors, or
            two of one name.
    """
    whole = plain(_load(file))
    parts = [whole]
    if isinstance(whole, dict) and not whole.keys().isdisjoint(entries):
        if lacking := [key for key in entries if key not in whole]:
            raise AdapterError(
                f"{file} has no {lacking[0]!r}, unlike a checkpoint of {head}; name another file."
            )
        parts = [plain(whole[key]) for key in entries]
    elif entries and not _named(whole):
        parts = []
    found: dict[str, torch.Tensor] = {}
    for part in parts:
        if not isinstance(part, dict) or not part:
            found = {}
            break
        _check(part, file, head)
        if twice := found.keys() & part.keys():
            raise AdapterError(f"Tensor {min(twice)} is in {file} twice; name another file.")
        # without attributes that the file may set on a tensor, which would hide its methods
        found |= {name: torch.Tensor.detach(x) for name, x in part.items()}
    if not found:
        where = f" under {' and '.join(map(repr, entries))}" if entries else ""
        raise AdapterError(
            f"{file} holds no tensors{where}, unlike a checkpoint of {head}; name another file or "
            "`head`."
        )
    return found


def _load(file: Path) -> object:
    try:
        return load_torch(file, beside=_SETTINGS, mapped=True)
    except Exception as error:  # the file's content is untrusted
        raise AdapterError(
            f"{file} is not readable as a checkpoint of tensors ({_why(file, error)}), and nothing "
            "in it was executed; get a new copy."
        ) from error


def _named(whole: object) -> bool:
    return isinstance(whole, dict) and any(map(torch.is_tensor, whole.values()))


def _check(part: Mapping[str, torch.Tensor], file: Path, head: str) -> None:
    for name, value in part.items():
        if not isinstance(name, str) or len(name) > LONGEST or not torch.is_tensor(value):
            said = shown(repr(name)) if isinstance(name, str) else "An entry"
            raise AdapterError(
                f"{said} of {file} is not a tensor, as {head} needs; name another file or `head`."
            )
        if value.device.type != "cpu":
            raise AdapterError(f"Tensor {name} of {file} has no values; save it with them.")


def _why(file: Path, error: Exception) -> str:
    """The reason in our words: torch's message advises switching its protection off."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if "compressed or overlap" in str(error):
        return str(error)
    if isinstance(error, Refused):
        return shown(error)
    if asked := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it asks for {shown(asked[1])}, which is not a plain tensor"
    with open(file, "rb") as opened:
        start = opened.read(64).lstrip()
    if start.startswith(b"<"):
        return "it is a web page, as left by a failed download"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself"
    if start and (isinstance(error, UnpicklingError) or "weights_only" in str(error)):
        return "it holds more than tensors, or is not a checkpoint"
    return "it is empty, truncated or damaged"
