"""Read weights from disk, with clear errors if they do not fit."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn.modules.module import register_module_parameter_registration_hook

from vlad.backbones.network import first_line
from vlad.errors import BackboneError
from vlad.system.text import shown
from vlad.system.torch_file import check_torch, load_torch, plain
from vlad.system.torchscript import is_torchscript, read_archive

IMAGE_ENCODERS = ("visual.", "image_encoder.")  # the latter of MobileCLIP's authors


def read_clip_state(path: Path) -> tuple[dict[str, torch.Tensor], bool]:
    """The tensors of a CLIP checkpoint by open_clip's names, in float32.

    Returns:
        The state dict, and whether the file was OpenAI's TorchScript archive.

    Raises:
        BackboneError: the file is unreadable or has no CLIP. Nothing in it is ever executed.
    """
    jit = False
    content: object
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        elif is_torchscript(path):
            jit, content = True, read_archive(path)
        else:
            content = load_torch(path)
    except Exception as error:
        raise _unreadable(path, error) from error
    found = plain(content)
    found = plain(found.get("state_dict", found)) if isinstance(found, dict) else {}
    found = found if isinstance(found, dict) else {}
    # without attributes that a file may set on a tensor, which would hide its methods
    state = {
        name.removeprefix("module."): torch.Tensor.detach(value)
        for name, value in found.items()
        if isinstance(name, str) and torch.is_tensor(value)
    }
    for buffer in ("input_resolution", "context_length", "vocab_size", "attn_mask"):
        state.pop(buffer, None)
    if not any(name.startswith(IMAGE_ENCODERS) for name in state):
        raise BackboneError(
            f"{path} has no CLIP by open_clip's names (no tensor visual.*); give another file, or "
            "a Hugging Face folder."
        )
    for name, tensor in state.items():
        if not _is_plain(tensor):
            raise BackboneError(
                f"Tensor {shown(name)} of {path} is sparse, or claims more values than it has; get "
                "a new copy."
            )
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, jit


def check_pickles(folder: Path) -> None:
    """Check the pickles of weights in a folder, which other libraries are to read.

    Raises:
        BackboneError: one holds something else than tensors, or asks for too much time or memory.
    """
    for file in sorted(folder.glob("pytorch_model*.bin")):
        try:
            check_torch(file)
        except Exception as error:
            raise _unreadable(file, error) from error


def check_finite(name: str, model: torch.nn.Module) -> None:
    """Raise a BackboneError for a weight that is not finite."""
    for tensor, values in model.state_dict().items():
        if values.is_floating_point() and not values.sum().isfinite():
            raise BackboneError(f"Tensor {tensor} of {name} has NaN or infinity; get a new copy.")


def _unreadable(file: Path, error: Exception) -> BackboneError:
    return BackboneError(
        f"{file} is not readable as weights ({first_line(error)}); give a .safetensors or .pt file "
        "that holds tensors only."
    )


def _is_plain(tensor: torch.Tensor) -> bool:
    """Return whether all values of the tensor are in memory, so its shape is true."""
    if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def infer_clip_config(state: dict[str, torch.Tensor], path: Path) -> dict:
    """open_clip's model config of a CLIP, inferred from the shapes (with 64-wide heads)."""

    def depth(prefix: str) -> int:
        found = (re.match(rf"{prefix}transformer\.resblocks\.(\d+)\.", key) for key in state)
        return 1 + max((int(m[1]) for m in found if m), default=-1)

    try:
        width, _, patch, _ = state["visual.conv1.weight"].shape
        side = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
        vocabulary, text_width = state["token_embedding.weight"].shape
        return {
            "embed_dim": state["text_projection"].shape[1],
            "vision_cfg": {
                "image_size": side * patch,
                "layers": depth(r"visual\."),
                "width": width,
                "patch_size": patch,
            },
            "text_cfg": {
                "context_length": len(state["positional_embedding"]),
                "vocab_size": vocabulary,
                "width": text_width,
                "heads": max(1, text_width // 64),
                "layers": depth(""),
            },
        }
    except (KeyError, ValueError) as error:
        raise BackboneError(
            f"Cannot infer the architecture of {path} from its tensors ({error}); name it, as in "
            f"ViT-B-16={path.name}."
        ) from None


@contextmanager
def without_values() -> Iterator[None]:
    """Within it, this thread makes modules whose parameters take no memory and are not drawn.

    Buffers have their values, since some are in no file; `load_strictly` gives the parameters
    theirs.
    """
    thread = threading.get_ident()

    def hook(_: torch.nn.Module, __: str, value: torch.nn.Parameter) -> torch.nn.Parameter | None:
        if threading.get_ident() != thread:
            return None
        return torch.nn.Parameter(value.to("meta"), requires_grad=value.requires_grad)

    # torch says None, and takes what is returned
    handle = register_module_parameter_registration_hook(hook)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


def load_strictly(model: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Load a whole state dict, or raise an error that names the tensor that does not fit.

    Raises:
        BackboneError: a missing, unknown or differently shaped tensor.
    """
    own = model.state_dict()
    for name in ("logit_scale", "logit_bias"):
        # some files have this number as a scalar, others as a vector of one
        if name in own and name in state and state[name].numel() == 1:
            state = {**state, name: state[name].reshape(own[name].shape)}
    for name in sorted(own.keys() ^ state.keys()):
        where = "is missing from" if name in own else "has no place in this architecture but is in"
        raise BackboneError(
            f"Tensor {shown(name)} {where} {path}; name another architecture or file."
        )
    for name, tensor in state.items():
        # a sum is as fast as memory, and any NaN or infinity shows in it
        if tensor.is_floating_point() and not tensor.sum().isfinite():
            raise BackboneError(f"Tensor {name} of {path} has NaN or infinity; get a new copy.")
        if tensor.shape != own[name].shape:
            raise BackboneError(
                f"Tensor {name} of {path} has shape {tuple(tensor.shape)}, but the architecture "
                f"has {tuple(own[name].shape)}; name another architecture or file."
            )
    model.load_state_dict(state, assign=True)
