"""The tensors of a TorchScript archive, read without running the programs in it.

`torch.jit.load` runs the archive's own `__setstate__`, which may write files. Here the modules of
`data.pkl` become plain objects that hold attributes, and nothing else that the pickle names is
looked up. OpenAI's CLIPs are such archives.
"""

from __future__ import annotations

import io
import itertools
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

from vlad.system.pickles import MOST, names_in

LONGEST = 512  # characters of the name of a module

_FUNCTIONS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


class _Module:
    """Stands in for a module: holds its attributes."""

    def __setstate__(self, state: object) -> None:
        self.attributes = state if isinstance(state, dict) else {}


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def check_archive(path: Path) -> None:
    """Raise ValueError for a zip that would grow when it is read; torch never compresses.

    A file that is not a zip passes.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        _check_stored(archive.infolist(), path)


def _check_stored(parts: list[zipfile.ZipInfo], path: Path) -> None:
    stored = all(part.compress_type == zipfile.ZIP_STORED for part in parts)
    if not stored or sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError("its parts are compressed or overlap, which torch never writes")


def read_archive(path: Path) -> dict[str, torch.Tensor]:
    """Name -> tensor of every attribute of the modules, as `state_dict` names parameters.

    Raises:
        ValueError, KeyError, OSError, pickle.UnpicklingError: it is damaged, names what no archive
            of weights needs, or asks for too much time or memory.
    """
    with zipfile.ZipFile(path) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("/data.pkl") and n.count("/") == 1]
        folder = name.removesuffix("data.pkl")
        # the programs in it are compressed, but are not read
        read = [p for p in archive.infolist() if p.filename.startswith((name, f"{folder}data/"))]
        _check_stored(read, path)
        content = archive.read(name)
        names_in(io.BytesIO(content), path.stat().st_size, _is_known)
        _check_places(content)
        root = _Unpickler(io.BytesIO(content), archive, folder).load()
    found: dict[str, torch.Tensor] = {}
    _collect(root, "", found, itertools.count())
    return found


def _is_known(name: str) -> bool:
    module, _, last = name.rpartition(".")
    known = (module, last) in _FUNCTIONS or (module == "torch" and last in _DTYPES)
    return known or name.startswith("__torch__")


def _check_places(content: bytes) -> None:
    """Raise ValueError for memo indices above the size of the file: a list is made that long."""
    for opcode, place, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "LONG_BINPUT") and int(place or 0) > len(content):
            raise ValueError("it numbers more objects than it holds")


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, archive: zipfile.ZipFile, folder: str):
        super().__init__(file)
        self.archive, self.folder = archive, folder
        self.storages: dict[str, torch.UntypedStorage] = {}

    def find_class(self, module: str, name: str) -> object:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) not in _FUNCTIONS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _FUNCTIONS[module, name]

    def persistent_load(self, pid: tuple) -> torch.TypedStorage:
        _, dtype, key, _, _ = pid
        if key not in self.storages:
            data = self.archive.read(f"{self.folder}data/{key}")
            self.storages[key] = torch.frombuffer(
                bytearray(data), dtype=torch.uint8
            ).untyped_storage()
        return torch.TypedStorage(wrap_storage=self.storages[key], dtype=dtype, _internal=True)


def _collect(
    module: object, prefix: str, found: dict[str, torch.Tensor], visits: Iterator[int]
) -> None:
    for name, value in getattr(module, "attributes", {}).items():
        if len(prefix) > LONGEST or next(visits) > MOST:
            raise ValueError("its modules are nested too deeply, or hold each other too often")
        if isinstance(value, _Module):
            _collect(value, prefix + name + ".", found, visits)
        elif torch.is_tensor(value) and name != "attn_mask":  # a constant, not a weight
            found[prefix + name] = value
