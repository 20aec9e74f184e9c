"""Convert the checkpoints released by authors of methods to adapters and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vlad.adapters import Adapter, check_tensors
from vlad.adapters.container import read_tensors
from vlad.adapters.layouts import (
    LAYOUTS,
    Layout,
    default_params,
    layout_of,
    ours,
    tensor_shapes,
    theirs,
)
from vlad.backbones.text import TextTransformer
from vlad.errors import AdapterError
from vlad.types import BackboneInfo

if TYPE_CHECKING:
    from vlad.backbones.backbone import Backbone

# AnomalyCLIP's prompt learner has unused layers of this fixed width
PROJECTION_WIDTH = 896
# head -> what follows its learned words, normal and anomalous
WORDS = {"anomalyclip": ("object.", "damaged object."), "adaptclip": (".", ".")}
REAL = (torch.float16, torch.bfloat16, torch.float32)


def read_checkpoint(
    file: Path,
    head: str,
    backbone: BackboneInfo,
    layers: Sequence[int] | None = None,
) -> tuple[dict[str, torch.Tensor], dict]:
    """The learned tensors of an authors' checkpoint by our names, and the head's params.

    Args:
        layers: blocks that the head uses; None takes those of the authors' published figures.

    Raises:
        AdapterError: reading the file would execute code, or a tensor is missing, unknown, or has
            another shape than the backbone requires.
    """
    layout = authors_layout(head)
    lead = layout.lead or {}
    learned: dict[str, torch.Tensor] = {}
    own: dict[str, str] = {}  # the authors' name -> ours
    state = read_tensors(file, layout.entries(), head)
    for prefix in ("module.", layout.prefix):  # the first of a parallel model
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): x for name, x in state.items()}
    for name, tensor in state.items():
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
    # by the authors' names and shapes, before reading any values: a shape can claim any memory
    expected = {theirs(head, n): (1,) * lead.get(n, 0) + s for n, s in shapes.items()}
    check_tensors(learned, expected, file, backbone)
    tensors = {own[n]: x.float() for n, x in learned.items()}
    tensors = {name: x.reshape(shapes[name]) for name, x in tensors.items()}
    if backbone.image_size == 336:
        params["image_size"] = layout.image_size
    return tensors, params


def write_checkpoint(adapter: Adapter, file: Path, backbone: Backbone | None) -> None:
    """Write an adapter in the format that the authors' own programs read.

    Args:
        backbone: required for the heads of `WORDS`, whose files repeat embeddings of the text
            encoder.

    Raises:
        AdapterError: such a head without its backbone, or a tensor that the head does not learn.
        OutputError: the file is not writable.
    """
    from vlad.system.files import atomic_write

    layout = authors_layout(adapter.head)
    lead = layout.lead or {}
    state = {
        theirs(adapter.head, name): x.reshape((1,) * lead.get(name, 0) + tuple(x.shape))
        for name, x in adapter.tensors.items()
    }
    if adapter.head in WORDS:
        state |= _words_rest(adapter, backbone)
    if adapter.head == "anomalyclip":
        state |= _projections_rest(adapter)
    if adapter.head == "adaptclip":
        state |= _modules_rest(state, len(adapter.params["layers"]))
    content: Mapping = {layout.prefix + name: x for name, x in state.items()}
    if layout.key:
        content = {layout.key: content}
    elif layout.parts:
        content = {
            key: {n: x for n, x in content.items() if re.fullmatch(pattern, n)}
            for key, pattern in layout.parts.items()
        }
    atomic_write(file, partial(torch.save, content))


def authors_layout(head: str) -> Layout:
    """The layout of a head whose authors' files can be read.

    Raises:
        AdapterError: there are no such files.
    """
    layout = layout_of(head)
    if head == "tipsomaly":
        raise AdapterError(
            "The released words of tipsomaly belong to the text encoder of TIPS, which vlad does "
            "not load; make an adapter with `vlad train tipsomaly` instead."
        )
    if not layout.authors:
        raise AdapterError(
            f"No other program reads files of head {head}; copy the adapter's folder instead."
        )
    return layout


def _sizes(layout: Layout, found: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The sizes that a method leaves open, read from the shapes of tensors by our names."""
    sizes = {}
    for param, (pattern, axis) in layout.sizes.items():
        shapes = [shape for name, shape in found.items() if re.fullmatch(pattern, name)]
        if shapes and (axis is None or len(shapes[0]) > axis):
            sizes[param] = len(shapes) if axis is None else shapes[0][axis]
    return sizes


def _check_layers(layers: Sequence[int], found: Mapping[str, tuple], file: Path) -> None:
    projected = {name.split(".")[1] for name in found if name.startswith("projections.")}
    if projected and len(projected) != len(layers):
        raise AdapterError(
            f"{file} has projections for {len(projected)} blocks, but `layers` has "
            f"{len(layers)} ({', '.join(map(str, layers))}); name one for each projection."
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
    raise AdapterError(f"Tensor {name} of {file} is not learned by {head}; choose another file.")


def _words_rest(adapter: Adapter, backbone: Backbone | None) -> dict[str, torch.Tensor]:
    """The embeddings of the words after the learned ones, which strict loaders expect."""
    if backbone is None or backbone.info.text_width is None:
        raise AdapterError(
            f"A file of {adapter.head} repeats embeddings of the text encoder it was trained on; "
            "name that `backbone`."
        )
    text = backbone.text
    assert isinstance(text, TextTransformer)  # true of all with a text width
    words, width = adapter.params["context"], backbone.info.text_width
    if adapter.tensors["context.normal"].shape[-1] != width:
        raise AdapterError(
            f"Adapter {adapter.name} has words of {adapter.tensors['context.normal'].shape[-1]} "
            f"channels and {backbone.info.name} of {width}; name the `backbone` it was "
            "trained on."
        )
    rest: dict[str, torch.Tensor] = {}
    lead = (None,) * (LAYOUTS[adapter.head].lead or {})["context.normal"]
    for side, sentence in zip(("pos", "neg"), WORDS[adapter.head], strict=True):
        ids = text.tokenize([" ".join(["X"] * words + [sentence])]).cpu()
        embedded = text.embed(ids.to(backbone.device)).float().cpu()[0]
        rest[f"token_prefix_{side}"] = embedded[lead][..., :1, :]
        rest[f"token_suffix_{side}"] = embedded[lead][..., 1 + words :, :]
        rest[f"tokenized_prompts_{side}"] = ids[0][lead]
    return rest


def _projections_rest(adapter: Adapter) -> dict[str, torch.Tensor]:
    """The unused layers of AnomalyCLIP's prompt learner."""
    width, rest = adapter.tensors["context.normal"].shape[-1], {}
    for i in range(adapter.params["deep_blocks"]):
        rest[f"compound_prompt_projections.{i}.weight"] = torch.zeros(PROJECTION_WIDTH, width)
        rest[f"compound_prompt_projections.{i}.bias"] = torch.zeros(PROJECTION_WIDTH)
    return rest


def _modules_rest(state: Mapping[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """AdaptCLIP's counts of steps, and the copies of the modules that its layers share."""
    rest: dict[str, torch.Tensor] = {}
    for name in state:
        if name.endswith(".running_var"):
            rest[name.replace("running_var", "num_batches_tracked")] = torch.tensor(0)
    for name, x in (rest | dict(state)).items():
        if shared := re.fullmatch(r"(local|global)_adapter\.0(\..+)", name):
            copies = range(1, layers)
            rest |= {f"{shared[1]}_adapter.{i}{shared[2]}": x for i in copies}
    return rest
