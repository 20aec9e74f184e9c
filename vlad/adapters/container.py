"""Open a file of an authors' program: the tensors in it by name, and nothing run.

`torch.load(weights_only=True)` refuses every class but those of tensors. Programs save settings,
optimisers and numpy scalars beside the tensors; these become objects that hold nothing.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch

from vlad.adapters import LONGEST
from vlad.adapters.pickles import Refused, names_in
from vlad.errors import AdapterError
from vlad.system.text import shown
from vlad.system.torchscript import check_archive

# classes that say how a training was set up; they are never looked up or called
_SETTINGS = re.compile(
    r"argparse\.Namespace|functools\.partial|pathlib\.(Pure)?(Posix|Windows)?Path|typing\.\w+"
    r"|collections\.defaultdict|builtins\.(dict|list|int|float|str|bool)"
    r"|numpy\.dtype|numpy\.dtypes\.\w+|numpy\.(core|_core)\.multiarray\.scalar"
    r"|torch\.(optim|nn\.modules)\.[\w.]+|(omegaconf|lightning|pytorch_lightning|src)\.[\w.]+"
)
# what tensors are made of, and torch's own modules beside them
_TENSORS = re.compile(
    r"collections\.OrderedDict|builtins\.set|_codecs\.encode|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\._utils\._rebuild_(tensor_v[23]|parameter(_with_state)?|meta_tensor_no_storage)"
    r"|torch\.(storage\.|nn\.parameter\.)?\w+"
)


class _Setting:
    """Stands for an object beside the tensors; takes anything and keeps nothing."""

    def __init__(self, *_: object):
        pass

    def __setstate__(self, _: object) -> None:
        pass


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
    whole = _plain(_load(file))
    parts = [whole]
    if isinstance(whole, dict) and not whole.keys().isdisjoint(entries):
        if lacking := [key for key in entries if key not in whole]:
            raise AdapterError(
                f"{file} has no {lacking[0]!r}, unlike a checkpoint of {head}; name another file."
            )
        parts = [_plain(whole[key]) for key in entries]
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
        check_archive(file)
        with open(file, "rb") as opened:
            archive = opened.read(4) == b"PK\3\4"  # by which torch tells its two containers apart
        if archive:
            _check_sums(file)
        names = _names(file, archive)
        kinds: list = [
            type(name, (_Setting,), {"__module__": module})
            for module, _, name in (name.rpartition(".") for name in names)
            if _SETTINGS.fullmatch(f"{module}.{name}")
        ]
        with torch.serialization.safe_globals(kinds):
            # files of the first torch are not mapped
            return torch.load(file, map_location="cpu", weights_only=True, mmap=archive)
    except Exception as error:  # the file's content is untrusted
        raise AdapterError(
            f"{file} is not readable as a checkpoint of tensors ({_why(file, error)}), and nothing "
            "in it was executed; get a new copy."
        ) from error


def _check_sums(file: Path) -> None:
    """Raise ValueError for bytes that differ from those written, which torch does not notice."""
    with zipfile.ZipFile(file) as archive:
        if archive.testzip():
            raise ValueError("a check sum differs")


def _names(file: Path, archive: bool) -> set[str]:
    """All that a file's pickles ask for, as "module.name"."""

    def allowed(name: str) -> object:
        return _TENSORS.fullmatch(name) or _SETTINGS.fullmatch(name)

    size = file.stat().st_size
    if archive:
        # by the reader of torch.load: other readers of archives may find another entry
        content = torch._C.PyTorchFileReader(str(file)).get_record("data.pkl")
        return names_in(io.BytesIO(content), size, allowed)
    with open(file, "rb") as opened:  # two numbers, the machine, the content, keys of its tensors
        return {name for _ in range(5) for name in names_in(opened, size, allowed)}


def _plain(value: object) -> object:
    """A dict for a file's dict: an OrderedDict can bring attributes that hide its methods."""
    return dict(list(dict.items(value))) if isinstance(value, dict) else value


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
