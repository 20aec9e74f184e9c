"""Adapters: what a head learned on auxiliary data, as tensors with a card, never as code.

An adapter is a folder with `adapter.safetensors`, whose header says for which head and backbone it
was made, and `card.toml`, which says where it comes from and what it reaches. Its name is that of a
folder below the user's adapters (see `adapters_folder`) or among those that ship with vlad; any
other folder is given by its path.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vlad.adapters.layouts import LARGEST, find_layout, tensor_shapes
from vlad.errors import AdapterError
from vlad.system.files import atomic_write
from vlad.system.resources import cache_folder, data_folder
from vlad.system.text import instead, shown
from vlad.types import BackboneInfo

if TYPE_CHECKING:
    import torch

FORMAT = 1
LONGEST = 10_000  # characters of a text that stands beside results, or of a tensor's name
FILE, CARD = "adapter.safetensors", "card.toml"


@dataclass(frozen=True)
class Adapter:
    """The learned tensors of a head.

    Attributes:
        name: of the adapter.
        head: the head it is for.
        backbone: name of the backbone it was trained on.
        auxiliary: the data it was trained on, said beside every figure made with it.
        params: what the head was trained with: `layers` and the like.
        tensors: our name -> float32 tensor.
        sha256: of the file it was read from.
    """

    name: str
    head: str
    backbone: str
    auxiliary: str
    params: Mapping
    tensors: Mapping[str, torch.Tensor] = field(repr=False)
    sha256: str = ""


def adapters_folder() -> Path:
    """Where imported adapters lie by their names; may not exist.

    Raises:
        AdapterError: the user has no home folder, so there is no such place.
    """
    try:
        return cache_folder() / "adapters"
    except RuntimeError as error:
        raise AdapterError(
            "There is no folder for adapters because the user has no home; set VLAD_CACHE to one."
        ) from error


def find_adapter(name_or_path: str | Path) -> Path:
    """The safetensors file of an adapter given by name, folder or file.

    Raises:
        AdapterError: there is none.
    """
    if not isinstance(name_or_path, str | Path):
        raise AdapterError(f"{name_or_path!r} is no adapter; give its name, folder or file.")
    path = Path(name_or_path)
    folders = adapters_folder(), data_folder("adapters")
    for candidate in (path / FILE, path, *(folder / path / FILE for folder in folders)):
        if os.path.isfile(candidate):  # unlike Path.is_file, False for names too long
            return candidate
    from vlad.adapters.cards import registry

    if card := registry().get(str(path)):
        raise AdapterError(
            f"The adapter {path} is not on this disk ({card['source']}); get it and import it "
            "with `vlad adapters import`."
        )
    known = [file.parent.name for folder in folders for file in folder.glob(f"*/{FILE}")]
    otherwise = (
        "choose one that `vlad adapters list` shows, or import a checkpoint of a method's authors "
        "with `vlad adapters import`"
    )
    raise AdapterError(f"There is no adapter {str(path)!r}{instead(path, known, otherwise)}")


def head_of(name_or_path: str | Path) -> str:
    """The head that an adapter is for.

    Raises:
        AdapterError: there is no such adapter, or its file is none.
    """
    return _header(find_adapter(name_or_path))["head"]


def load_adapter(
    name_or_path: str | Path | Adapter | None, head: str, backbone: BackboneInfo
) -> Adapter:
    """An adapter, checked against the head and the backbone it is to work with.

    Args:
        name_or_path: its name, folder or file, or the adapter itself.

    Raises:
        AdapterError: no adapter is named or there, it is for another head, or a tensor is missing,
            unknown, of another shape than the backbone asks for, or holds what is no number.
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
            f"{file} is an adapter of head {adapter.head}, not of {head}; name another one, or "
            "that head."
        )
    check_tensors(adapter.tensors, tensor_shapes(head, backbone, adapter.params), file, backbone)
    return adapter


def read_adapter(file: Path) -> Adapter:
    """The adapter in a safetensors file, as it is.

    Raises:
        AdapterError: the file is none.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    header = _header(file)
    try:
        content = file.read_bytes()
        tensors = load(content)
        for name, x in tensors.items():
            if not x.is_floating_point():
                raise ValueError(f"tensor {shown(name)} holds {x.dtype}, not real numbers")
        tensors = {name: x.float() for name, x in tensors.items()}
    except (OSError, MemoryError, SafetensorError, ValueError) as error:
        raise _unreadable(file, error) from error
    name = file.parent.name if file.name == FILE else file.stem
    fields = {key: header[key] for key in ("head", "backbone", "auxiliary", "params")}
    return Adapter(name=name, **fields, tensors=tensors, sha256=sha256_of(content))


def save_adapter(adapter: Adapter, folder: str | Path) -> Path:
    """Writes the tensors of an adapter and what is needed to load them; returns the file.

    Raises:
        OutputError: the folder cannot be written to.
    """
    return atomic_write(Path(folder) / FILE, packed(adapter))


def packed(adapter: Adapter) -> bytes:
    """The content of an adapter's safetensors file; the same for the same adapter."""
    from safetensors.torch import save

    fields = ("head", "backbone", "auxiliary", "params")
    header = {"format": FORMAT, **{name: getattr(adapter, name) for name in fields}}
    tensors = {name: x.detach().float().contiguous().cpu() for name, x in adapter.tensors.items()}
    return save(tensors, {"vlad": json.dumps(header)})


def check_tensors(
    tensors: Mapping[str, torch.Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    file: Path | str,
    backbone: BackboneInfo,
) -> None:
    """Whether the tensors are those of the layout, with numbers in them.

    Raises:
        AdapterError: naming the first tensor that is not.
    """
    for name in sorted(tensors.keys() ^ shapes.keys()):
        where = "is missing from" if name in shapes else "is none that the head learns but is in"
        raise AdapterError(f"Tensor {shown(name)} {where} {file}; choose another file or head.")
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != tuple(shapes[name]):
            raise AdapterError(
                f"Tensor {name} of {file} has shape {tuple(tensor.shape)}, but {backbone.name} "
                f"needs {tuple(shapes[name])}; choose the `backbone` it was trained on."
            )
        if not tensor.isfinite().all():
            raise AdapterError(f"Tensor {name} of {file} holds NaN or infinity; get it anew.")


def is_plain_text(value: object) -> bool:
    """Whether it is words on one line, fit to stand beside results."""
    if not isinstance(value, str) or len(value) > LONGEST:
        return False
    return value.isprintable() and value.strip() != ""


def sha256_of(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _header(file: Path) -> dict:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            header = json.loads((opened.metadata() or {}).get("vlad", "null"))
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError("its header is not that of an adapter")
        if not all(is_plain_text(header[key]) for key in ("head", "backbone", "auxiliary")):
            raise ValueError("its header is not that of an adapter")
        params = header["params"]
        layout = find_layout(header["head"])
        needed = [params[size] for size in layout.defaults] if layout else []
        numbers = [*params["layers"], *needed, params.get("image_size", 1)]
        if type(params["layers"]) is not list or not 0 < len(params["layers"]) <= LARGEST:
            raise ValueError("its layers are no list, or one too long")
        categories = params.get("categories", [])  # that it was trained on
        if type(categories) is not list or not all(isinstance(c, str) for c in categories):
            raise ValueError("its categories are no list of texts")
        if not all(type(number) is int and 0 < number <= LARGEST for number in numbers):
            raise ValueError("a size in its header is no whole number that can be")
        return header
    except (
        OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError
    ) as error:  # fmt: skip
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> AdapterError:
    why = shown(str(error).strip().splitlines()[0]) if str(error).strip() else type(error).__name__
    return AdapterError(
        f"{file} is no adapter of vlad ({why}); give a folder that vlad wrote, or import an "
        "authors' checkpoint first with `vlad adapters import`."
    )
