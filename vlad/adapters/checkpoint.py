"""The checkpoints that authors of methods released, read into adapters and written back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch

from vlad.adapters import LONGEST, Adapter, check_tensors
from vlad.adapters.layouts import Layout, default_params, layout_of, ours, tensor_shapes, theirs
from vlad.backbones.text import TextTransformer
from vlad.errors import AdapterError
from vlad.system.text import shown
from vlad.system.torchscript import check_archive
from vlad.types import BackboneInfo

if TYPE_CHECKING:
    from vlad.backbones.backbone import Backbone

# AnomalyCLIP's prompt learner has these layers, which nothing reads, of this fixed width
PROJECTION_WIDTH = 896
REAL = (torch.float16, torch.bfloat16, torch.float32)


def read_checkpoint(
    file: Path, head: str, backbone: BackboneInfo, layers: Sequence[int] | None = None
) -> tuple[dict[str, torch.Tensor], dict]:
    """The learned tensors of an authors' checkpoint under our names, and the head's params.

    Args:
        layers: blocks that the head uses; None is what the authors' published figures use.

    Raises:
        AdapterError: the file cannot be read without executing code, or a tensor is missing,
            unknown, or of another shape than the backbone asks for.
    """
    layout = _authors_layout(head)
    lead = layout.lead or {}
    learned: dict[str, torch.Tensor] = {}
    own: dict[str, str] = {}  # the authors' name -> ours
    for name, tensor in _state(file, layout, head).items():
        if (known := ours(head, name)) is None:
            _check_unused(name, tensor, layout, backbone, file, head)
        elif tensor.dtype not in REAL:
            raise AdapterError(
                f"Tensor {name} of {file} holds {tensor.dtype}, not real numbers; save it as "
                "float32."
            )
        else:
            learned[name], own[name] = tensor, known
    found = {own[n]: tuple(x.shape) for n, x in learned.items()}
    found = {name: shape[lead.get(name, 0) :] for name, shape in found.items()}
    params = default_params(head, backbone)
    params |= {"layers": list(layers)} if layers else {}
    params |= _sizes(layout, found)
    _check_layers(params["layers"], found, file)
    shapes = tensor_shapes(head, backbone, params)
    # in the authors' names and shapes, before any number is touched: a shape can lie about memory
    expected = {theirs(head, n): (1,) * lead.get(n, 0) + s for n, s in shapes.items()}
    check_tensors(learned, expected, file, backbone)
    tensors = {own[n]: x.float() for n, x in learned.items()}
    tensors = {name: x.reshape(shapes[name]) for name, x in tensors.items()}
    # all of the authors' backbones see 336-pixel positions stretched over this size
    if backbone.image_size == 336:
        params["image_size"] = 518
    return tensors, params


def write_checkpoint(adapter: Adapter, file: Path, backbone: Backbone | None) -> None:
    """Writes an adapter as the authors' own programs read it.

    Args:
        backbone: needed for AnomalyCLIP, whose files repeat embeddings of the text encoder.

    Raises:
        AdapterError: AnomalyCLIP without its backbone, or a tensor that the head does not learn.
        OutputError: the file cannot be written.
    """
    from vlad.system.files import atomic_write

    layout = _authors_layout(adapter.head)
    lead = layout.lead or {}
    state = {
        theirs(adapter.head, name): x.reshape((1,) * lead.get(name, 0) + tuple(x.shape))
        for name, x in adapter.tensors.items()
    }
    if adapter.head == "anomalyclip":
        state |= _prompt_learner_rest(adapter, backbone)
    found = {layout.key: state} if layout.key else state
    atomic_write(file, lambda opened: torch.save(found, opened))


def _authors_layout(head: str) -> Layout:
    layout = layout_of(head)
    if not layout.authors:
        raise AdapterError(
            f"No other program has files of head {head}; copy the adapter's folder instead."
        )
    return layout


def _state(file: Path, layout: Layout, head: str) -> Mapping[str, torch.Tensor]:
    try:
        check_archive(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever is in the file, it stays data
        raise AdapterError(
            f"{file} could not be read as a checkpoint of tensors ({_why(file, error)}), and "
            "nothing in it was executed; get the file anew."
        ) from error
    if layout.key and isinstance(found, dict):
        found = found.get(layout.key)
    if not isinstance(found, dict) or not found:
        where = f" under {layout.key!r}" if layout.key else ""
        raise AdapterError(
            f"{file} holds no tensors{where}, as a checkpoint of {head} does; name another file or "
            "`head`."
        )
    for name, value in found.items():
        if not isinstance(name, str) or len(name) > LONGEST or not torch.is_tensor(value):
            said = shown(repr(name)) if isinstance(name, str) else "An entry"
            raise AdapterError(
                f"{said} of {file} is no tensor, as in a checkpoint of {head}; name another file "
                "or `head`."
            )
        if value.layout is not torch.strided or value.device.type != "cpu":
            raise AdapterError(
                f"Tensor {name} of {file} is sparse or empty; save it as a plain one."
            )
    if all(name.startswith("module.") for name in found):  # saved from a parallel model
        found = {name.removeprefix("module."): x for name, x in found.items()}
    return found


def _why(file: Path, error: Exception) -> str:
    """In our words: those of torch advise to switch its protection off."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if "compressed or overlap" in str(error):
        return str(error)
    with open(file, "rb") as opened:
        start = opened.read(64).lstrip()
    if start.startswith(b"<"):
        return "it is a web page, as a failed download leaves it"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file that it stands for"
    if isinstance(error, UnpicklingError) or "weights_only" in str(error):
        return "it holds more than tensors, or is no checkpoint at all"
    return "it is empty, cut off or damaged"


def _sizes(layout: Layout, found: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The sizes that a method leaves open, read off the shapes of tensors under our names."""
    sizes = {}
    for param, (pattern, axis) in layout.sizes.items():
        shapes = [shape for name, shape in found.items() if re.fullmatch(pattern, name)]
        if shapes and (axis is None or len(shapes[0]) > axis):
            sizes[param] = len(shapes) if axis is None else shapes[0][axis]
    return sizes


def _check_layers(layers: Sequence[int], found: Mapping[str, tuple], file: Path) -> None:
    projected = {int(name.split(".")[1]) for name in found if name.startswith("projections.")}
    if projected and 1 + max(projected) != len(layers):
        raise AdapterError(
            f"{file} has projections for {1 + max(projected)} blocks, but {len(layers)} are named "
            f"({', '.join(map(str, layers))}); name as many `layers`."
        )


def _check_unused(
    name: str, tensor: torch.Tensor, layout: Layout, backbone: BackboneInfo, file: Path, head: str
) -> None:
    for pattern, width in (layout.unused or {}).items():
        if re.fullmatch(pattern, name):
            if width and (tensor.ndim == 0 or tensor.shape[-1] != backbone.text_width):
                raise AdapterError(
                    f"Tensor {name} of {file} has shape {tuple(tensor.shape)}, but the text "
                    f"encoder of {backbone.name} has {backbone.text_width} channels; choose "
                    "another backbone."
                )
            return
    raise AdapterError(f"Tensor {name} of {file} is none that {head} learns; choose another file.")


def _prompt_learner_rest(adapter: Adapter, backbone: Backbone | None) -> dict[str, torch.Tensor]:
    """What AnomalyCLIP's strict loader expects besides: embeddings of the words, unread layers."""
    if backbone is None or backbone.info.text_width is None:
        raise AdapterError(
            "A file of AnomalyCLIP repeats embeddings of the text encoder it was trained on; name "
            "that `backbone`."
        )
    text = backbone.text
    assert isinstance(text, TextTransformer)  # as all that have a text width
    words, width = adapter.params["context"], backbone.info.text_width
    if adapter.tensors["context.normal"].shape[-1] != width:
        raise AdapterError(
            f"Adapter {adapter.name} has words of {adapter.tensors['context.normal'].shape[-1]} "
            f"channels and {backbone.info.name} of {width}; name the `backbone` it was "
            "trained on."
        )
    rest: dict[str, torch.Tensor] = {}
    for side, sentence in (("pos", "object."), ("neg", "damaged object.")):
        ids = text.tokenize([" ".join(["X"] * words + [sentence])]).cpu()
        embedded = text.embed(ids.to(backbone.device)).float().cpu()
        rest[f"token_prefix_{side}"] = embedded[None, :, :1]
        rest[f"token_suffix_{side}"] = embedded[None, :, 1 + words :]
        rest[f"tokenized_prompts_{side}"] = ids[None]
    for i in range(adapter.params["deep_blocks"]):
        rest[f"compound_prompt_projections.{i}.weight"] = torch.zeros(PROJECTION_WIDTH, width)
        rest[f"compound_prompt_projections.{i}.bias"] = torch.zeros(PROJECTION_WIDTH)
    return rest
