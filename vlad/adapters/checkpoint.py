"""The checkpoints that authors of methods released, read into adapters and written back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vlad.adapters import Adapter, check_tensors
from vlad.adapters.layouts import Layout, default_params, layout_of, ours, tensor_shapes, theirs
from vlad.errors import AdapterError
from vlad.types import TowerInfo

if TYPE_CHECKING:
    from vlad.backbones.tower import Tower

# AnomalyCLIP's prompt learner has these layers, which nothing reads, of this fixed width
PROJECTION_WIDTH = 896


def read_checkpoint(
    file: Path, head: str, tower: TowerInfo, layers: Sequence[int] | None = None
) -> tuple[dict[str, torch.Tensor], dict]:
    """The learned tensors of an authors' checkpoint under our names, and the head's params.

    Args:
        layers: blocks that the head uses; None is what the authors' published figures use.

    Raises:
        AdapterError: the file cannot be read without executing code, or a tensor is missing,
            unknown, or of another shape than the tower asks for.
    """
    layout = layout_of(head)
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in _state(file, layout, head).items():
        name = name.removeprefix("module.")
        mine = ours(head, name)
        if mine is None:
            _check_unused(name, tensor, layout, tower, file, head)
        elif not tensor.is_floating_point():
            raise AdapterError(f"Tensor {name} of {file} holds {tensor.dtype}, not real numbers.")
        else:
            tensors[mine] = _without_lead(name, tensor, (layout.lead or {}).get(mine, 0), file)
    params = default_params(head, tower)
    params |= {"layers": list(layers)} if layers else {}
    for param, (pattern, axis) in layout.sizes.items():
        found = [x for name, x in tensors.items() if re.fullmatch(pattern, name)]
        if found and (axis is None or found[0].ndim > axis):
            params[param] = len(found) if axis is None else found[0].shape[axis]
    check_tensors(tensors, tensor_shapes(head, tower, params), file, tower)
    # all of the authors' towers see 336-pixel positions stretched over this size
    if tower.image_size == 336:
        params["image_size"] = 518
    return tensors, params


def write_checkpoint(adapter: Adapter, file: Path, tower: Tower | None) -> None:
    """Writes an adapter as the authors' own programs read it.

    Args:
        tower: needed for AnomalyCLIP, whose files repeat embeddings of the text tower.

    Raises:
        AdapterError: AnomalyCLIP without a tower.
        OutputError: the file cannot be written.
    """
    from vlad.files import atomic_write

    layout = layout_of(adapter.head)
    lead = layout.lead or {}
    state = {
        theirs(adapter.head, name): x.reshape((1,) * lead.get(name, 0) + tuple(x.shape))
        for name, x in adapter.tensors.items()
    }
    if adapter.head == "anomalyclip":
        state |= _prompt_learner_rest(adapter, tower)
    found = {layout.key: state} if layout.key else state
    atomic_write(file, lambda opened: torch.save(found, opened))


def _state(file: Path, layout: Layout, head: str) -> Mapping[str, torch.Tensor]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever is in the file, it stays data
        why = type(error).__name__ if isinstance(error, EOFError) else _first_line(error)
        raise AdapterError(
            f"{file} could not be read as a checkpoint of tensors ({why}); nothing in it was "
            "executed, get the file anew."
        ) from error
    if layout.key and isinstance(found, dict):
        found = found.get(layout.key)
    if not isinstance(found, dict) or not found:
        where = f" under {layout.key!r}" if layout.key else ""
        raise AdapterError(f"{file} holds no tensors{where}, so it is no checkpoint of {head}.")
    for name, value in found.items():
        if not isinstance(name, str) or not torch.is_tensor(value):
            raise AdapterError(f"{name!r} of {file} is no tensor; it is no checkpoint of {head}.")
    return found


def _check_unused(
    name: str, tensor: torch.Tensor, layout: Layout, tower: TowerInfo, file: Path, head: str
) -> None:
    for pattern, width in (layout.unused or {}).items():
        if re.fullmatch(pattern, name):
            if width and (tensor.ndim == 0 or tensor.shape[-1] != tower.text_width):
                raise AdapterError(
                    f"Tensor {name} of {file} has shape {tuple(tensor.shape)}, but the text tower "
                    f"of {tower.name} has {tower.text_width} channels; choose another --backbone."
                )
            return
    raise AdapterError(f"Tensor {name} of {file} is none that {head} learns; choose another file.")


def _without_lead(name: str, tensor: torch.Tensor, lead: int, file: Path) -> torch.Tensor:
    if tuple(tensor.shape[:lead]) != (1,) * lead or tensor.ndim <= lead:
        raise AdapterError(
            f"Tensor {name} of {file} has shape {tuple(tensor.shape)}; its first {lead} axes "
            "should be of length 1."
        )
    return tensor.reshape(tensor.shape[lead:]).float()


def _prompt_learner_rest(adapter: Adapter, tower: Tower | None) -> dict[str, torch.Tensor]:
    """What AnomalyCLIP's strict loader expects besides: embeddings of the words, unread layers."""
    if tower is None or tower.info.text_width is None:
        raise AdapterError(
            "A file of AnomalyCLIP repeats embeddings of the text tower it was trained on; name "
            "that tower with --backbone."
        )
    words, width = adapter.params["context"], tower.info.text_width
    rest: dict[str, torch.Tensor] = {}
    for side, sentence in (("pos", "object."), ("neg", "damaged object.")):
        ids = tower.text.tokenize([" ".join(["X"] * words + [sentence])]).cpu()
        embedded = tower.text.embed(ids.to(tower.device)).float().cpu()
        rest[f"token_prefix_{side}"] = embedded[None, :, :1]
        rest[f"token_suffix_{side}"] = embedded[None, :, 1 + words :]
        rest[f"tokenized_prompts_{side}"] = ids[None]
    for i in range(adapter.params["deep_blocks"]):
        rest[f"compound_prompt_projections.{i}.weight"] = torch.zeros(PROJECTION_WIDTH, width)
        rest[f"compound_prompt_projections.{i}.bias"] = torch.zeros(PROJECTION_WIDTH)
    return rest


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
