"""Files of `torch.save`, whose content nobody vouches for: read with nothing run."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from vlad.system.pickles import names_in
from vlad.system.torchscript import check_archive

# what tensors are made of, and torch's own modules beside them
_TENSORS = re.compile(
    r"collections\.OrderedDict|builtins\.set|_codecs\.encode|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\._utils\._rebuild_(tensor_v[23]|parameter(_with_state)?|meta_tensor_no_storage)"
    r"|torch\.(storage\.|nn\.parameter\.)?\w+"
)
_NOTHING = re.compile(r"(?!)")


class _Setting:
    """Stands for an object beside the tensors; takes anything and keeps nothing."""

    def __init__(self, *_: object):
        pass

    def __setstate__(self, _: object) -> None:
        pass


def check_torch(file: Path, beside: re.Pattern = _NOTHING) -> set[str]:
    """Check a file before `torch.load(weights_only=True)` reads it; return what it asks for.

    Args:
        beside: as in `load_torch`.

    Raises:
        Refused: it asks for something else, or for too much time or memory.
        Exception: whatever reading a damaged file ends with.
    """
    check_archive(file)
    if archive := _is_archive(file):
        _check_sums(file)
    return _names(file, archive, beside)


def load_torch(file: Path, *, beside: re.Pattern = _NOTHING, mapped: bool = False) -> Any:
    """What `torch.load(weights_only=True)` reads, checked before.

    Args:
        beside: names of classes, as "module.name", whose objects become ones that hold nothing;
            they are never looked up or called.
        mapped: leave the tensors of a zip archive on the disk until they are used.

    Raises:
        Exception: as `check_torch`.
    """
    kinds: list = [
        type(name, (_Setting,), {"__module__": module})
        for module, _, name in (asked.rpartition(".") for asked in check_torch(file, beside))
        if beside.fullmatch(f"{module}.{name}")
    ]
    with torch.serialization.safe_globals(kinds):
        # files of the first torch are not mapped
        return torch.load(
            file, map_location="cpu", weights_only=True, mmap=mapped and _is_archive(file)
        )


def plain(value: object) -> Any:
    """A dict for a file's dict: an OrderedDict can bring attributes that hide its methods."""
    return dict(list(dict.items(value))) if isinstance(value, dict) else value


def _is_archive(file: Path) -> bool:
    with open(file, "rb") as opened:
        return opened.read(4) == b"PK\3\4"  # by which torch tells its two containers apart


def _check_sums(file: Path) -> None:
    """Raise ValueError for bytes that differ from those written, which torch does not notice."""
    with zipfile.ZipFile(file) as archive:
        if archive.testzip():
            raise ValueError("a check sum differs")


def _names(file: Path, archive: bool, beside: re.Pattern) -> set[str]:
    """All that a file's pickles ask for, as "module.name"."""

    def allowed(name: str) -> object:
        return _TENSORS.fullmatch(name) or beside.fullmatch(name)

    size = file.stat().st_size
    if archive:
        # by the reader of torch.load: other readers of archives may find another entry
        content = torch._C.PyTorchFileReader(str(file)).get_record("data.pkl")
        return names_in(io.BytesIO(content), size, allowed)
    with open(file, "rb") as opened:  # two numbers, the machine, the content, keys of its tensors
        return {name for _ in range(5) for name in names_in(opened, size, allowed)}
