"""Adapters: what a head learned on auxiliary data, stored as tensors with a card, never as code.

An adapter is a folder with `adapter.safetensors`, whose header names its head and backbone, and
`card.toml`, which states its origin and its figures. Adapters in the user's folder (see
`adapters_folder`) or shipped with vlad are given by the folder's name, all others by their path.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vlad.adapters.layouts import LARGEST, find_layout, tensor_shapes
from vlad.adapters.written import parts
from vlad.errors import AdapterError
from vlad.system.files import atomic_write, file_sha256
from vlad.system.formats import FORMAT, check_format
from vlad.system.resources import cache_folder, data_folder
from vlad.system.text import instead, shown
from vlad.types import BackboneInfo

if TYPE_CHECKING:
    import torch

LONGEST = 10_000  # characters of a text shown beside results, or of a tensor's name
FILE, CARD = "adapter.safetensors", "card.toml"
_HEADER = ("head", "backbone", "auxiliary", "params")


@dataclass(frozen=True)
class Adapter:
    """The learned tensors of a head.

    Attributes:
        name: its name.
        head: name of its head.
        backbone: name of the backbone it was trained on.
        auxiliary: the data it was trained on, stated beside every figure made with it.
        params: parameters the head was trained with, such as `layers`.
        tensors: our name -> float32 tensor.
        sha256: digest of the file it was read from.
    """

    name: str
    head: str
    backbone: str
    auxiliary: str
    params: Mapping
    tensors: Mapping[str, torch.Tensor] = field(repr=False)
    sha256: str = ""

    def to(self, device: torch.device | str) -> Adapter:
        """The adapter with its tensors on a device; itself if they are there."""
        moved = {name: x.to(device) for name, x in self.tensors.items()}
        if all(moved[name] is x for name, x in self.tensors.items()):
            return self
        return replace(self, tensors=moved)

    def __getstate__(self) -> dict:
        """All, with tensors on the CPU: it may be read where there is no other device."""
        return {**vars(self), "tensors": {name: x.cpu() for name, x in self.tensors.items()}}


def adapters_folder() -> Path:
    """The folder of imported adapters, by name; it may not exist.

    Raises:
        AdapterError: the user has no home folder.
    """
    try:
        return cache_folder() / "adapters"
    except RuntimeError as error:
        raise AdapterError(
            "The user has no home folder for adapters; set VLAD_CACHE to a folder."
        ) from error


def find_adapter(name_or_path: str | Path) -> Path:
    """The safetensors file of an adapter given by name, folder or file.

    Raises:
        AdapterError: there is no such adapter.
    """
    if not isinstance(name_or_path, str | Path):
        raise AdapterError(f"{name_or_path!r} is not an adapter; give its name, folder or file.")
    path = Path(name_or_path)
    folders = adapters_folder(), data_folder("adapters")
    for candidate in (path / FILE, path, *(folder / path / FILE for folder in folders)):
        if os.path.isfile(candidate):  # unlike Path.is_file, False for names too long
            return candidate
    from vlad.adapters.cards import registry

    if card := registry().get(str(path)):
        raise AdapterError(
            f"The adapter {path} is not on this disk; get it from {card['source']}, and import it "
            "with `vlad adapters import`."
        )
    known = [file.parent.name for folder in folders for file in folder.glob(f"*/{FILE}")]
    otherwise = (
        "choose one from `vlad adapters list`, or import a checkpoint with `vlad adapters import`"
    )
    raise AdapterError(f"Unknown adapter {str(path)!r}{instead(path, known, otherwise)}")


def head_of(name_or_path: str | Path) -> str:
    """The name of an adapter's head.

    Raises:
        AdapterError: there is no such adapter, or its file is invalid.
    """
    return _header(find_adapter(name_or_path))["head"]


def identities(names_or_paths: Iterable[str]) -> list[str]:
    """Adapters as given, each with the start of its file's digest, for settings to compare.

    Raises:
        AdapterError: there is no such adapter.
    """
    return [f"{given} {file_sha256(find_adapter(given))[:16]}" for given in names_or_paths]


def load_adapter(
    name_or_path: str | Path | Adapter | None, head: str, backbone: BackboneInfo
) -> Adapter:
    """An adapter, checked against its head and backbone.

    Args:
        name_or_path: the name, folder or file of an adapter, or the adapter itself.

    Raises:
        AdapterError: no adapter is given or found, it is for another head, or a tensor is missing,
            unknown, not finite, or has another shape than the backbone requires.
    """
    if name_or_path is None:
        raise AdapterError(
            f"Head {head} needs a trained adapter; name one as `adapter` "
            "(see `vlad adapters list`)."
        )
    if isinstance(name_or_path, Adapter):
        file, adapter = Path(name_or_path.name), name_or_path
    else:
        file = find_adapter(name_or_path)
        adapter = read_adapter(file)
    if adapter.head != head:
        raise AdapterError(
            f"{file} is an adapter of head {adapter.head}, not of {head}; name another adapter or "
            "head."
        )
    check_tensors(adapter.tensors, tensor_shapes(head, backbone, adapter.params), file, backbone)
    return adapter


def read_adapter(file: Path) -> Adapter:
    """The adapter in a safetensors file, unchecked.

    Raises:
        AdapterError: the file is not an adapter.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    tensors = {}
    try:
        before = _identity(file)
    except OSError as error:
        raise _unreadable(file, error) from error
    header = _header(file)
    try:
        digest = file_sha256(file)
        with safe_open(file, framework="pt") as opened:
            for name in sorted(opened.keys()):  # so that an error names the same one every time
                found = opened.get_tensor(name)
                if not found.is_floating_point():
                    raise ValueError(f"tensor {shown(name)} holds {found.dtype}, not real numbers")
                # a copy, as the file may change while it is mapped
                tensors[name] = found.to(torch.float32, copy=True)
        after = _identity(file)
    except (OSError, MemoryError, SafetensorError, ValueError) as error:
        raise _unreadable(file, error) from error
    if after != before:
        raise AdapterError(f"{file} changed while it was read; read it again.")
    name = file.parent.name if file.name == FILE else file.stem
    fields = {key: header[key] for key in _HEADER}
    return Adapter(name=name, **fields, tensors=tensors, sha256=digest)


def _identity(file: Path) -> tuple[int, int, int]:
    """What differs once another file has its name, or other bytes are in it."""
    found = os.stat(file)
    return found.st_ino, found.st_size, found.st_mtime_ns


def save_adapter(adapter: Adapter, folder: str | Path) -> Path:
    """Write an adapter's tensors and the header to load them by; return the file.

    Raises:
        OutputError: the folder is not writable.
    """
    return atomic_write(Path(folder) / FILE, lambda file: file.writelines(_parts(adapter)))


def digest_of(adapter: Adapter) -> str:
    """SHA-256 of the file that `save_adapter` writes, in hexadecimal digits."""
    digest = hashlib.sha256()
    for part in _parts(adapter):
        digest.update(part)
    return digest.hexdigest()


def _parts(adapter: Adapter) -> Iterator[bytes]:
    header = {"format": FORMAT, **{name: getattr(adapter, name) for name in _HEADER}}
    return parts(adapter.tensors, {"vlad": json.dumps(header)})


def check_tensors(
    tensors: Mapping[str, torch.Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    file: Path | str,
    backbone: BackboneInfo,
) -> None:
    """Check that the tensors match the layout and are finite.

    Raises:
        AdapterError: names the first tensor that does not.
    """
    for name in sorted(tensors.keys() ^ shapes.keys()):
        where = "is missing from" if name in shapes else "is not one that the head learns but is in"
        raise AdapterError(f"Tensor {shown(name)} {where} {file}; choose another file or head.")
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != tuple(shapes[name]):
            raise AdapterError(
                f"Tensor {name} of {file} has shape {tuple(tensor.shape)}, but {backbone.name} "
                f"needs {tuple(shapes[name])}; choose the `backbone` it was trained on."
            )
        if not tensor.isfinite().all():
            raise AdapterError(f"Tensor {name} of {file} has NaN or infinity; get a new copy.")


def is_plain_text(value: object) -> bool:
    """Return whether it is text on one line, fit to show beside results."""
    if not isinstance(value, str) or len(value) > LONGEST:
        return False
    return value.isprintable() and value.strip() != ""


def _header(file: Path) -> dict:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            header = json.loads((opened.metadata() or {}).get("vlad", "null"))
        if not isinstance(header, dict) or "format" not in header:
            raise ValueError("its header is not that of an adapter")
        check_format(header, _HEADER, file, AdapterError)
        if not all(is_plain_text(header[key]) for key in ("head", "backbone", "auxiliary")):
            raise ValueError("its header is not that of an adapter")
        params = header["params"]
        layout = find_layout(header["head"])
        needed = [params[size] for size in layout.defaults] if layout else []
        numbers = [*params["layers"], *needed, params.get("image_size", 1)]
        if type(params["layers"]) is not list or not 0 < len(params["layers"]) <= LARGEST:
            raise ValueError("its layers are not a list, or too many")
        categories = params.get("categories", [])  # those it was trained on
        if type(categories) is not list or not all(isinstance(c, str) for c in categories):
            raise ValueError("its categories are not a list of texts")
        if not all(type(number) is int and 0 < number <= LARGEST for number in numbers):
            raise ValueError("a size in its header is not a valid whole number")
        return header
    except (
        OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError
    ) as error:  # fmt: skip
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> AdapterError:
    why = shown(str(error).strip().splitlines()[0]) if str(error).strip() else type(error).__name__
    return AdapterError(
        f"{file} is not a vlad adapter ({why}); give a folder that vlad wrote, or first import the "
        "authors' checkpoint with `vlad adapters import`."
    )
