"""Read weights from disk, with clear errors if they do not fit."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import torch
from safetensors.torch import load_file

from vlad.errors import BackboneError, VladError
from vlad.system.files import cache_write
from vlad.system.resources import cache_folder
from vlad.system.text import shown
from vlad.system.torchscript import check_archive, is_torchscript, read_archive

OFFLINE = ("VLAD_OFFLINE", "HF_HUB_OFFLINE")
ON = ("1", "true", "yes", "on")
IMAGE_ENCODERS = ("visual.", "image_encoder.")  # the latter of MobileCLIP's authors
PATIENCE = 4  # seconds to wait for the model hub
REMEDY = "give a local file as `backbone`, or use the built-in `backbone` vlad-tiny"
REMEMBERED = 300  # seconds for which a hub that was out of reach is not asked again


def is_offline() -> bool:
    """Return whether the user forbade the network (VLAD_OFFLINE=1 or HF_HUB_OFFLINE=1)."""
    return any(os.environ.get(name, "").lower() in ON for name in OFFLINE)


def forbid_network() -> None:
    """Apply VLAD_OFFLINE to the hub client too, even if it is already imported."""
    if is_offline():
        os.environ["HF_HUB_OFFLINE"] = "1"
        if "huggingface_hub" in sys.modules:
            sys.modules["huggingface_hub"].constants.HF_HUB_OFFLINE = True


@contextmanager
def from_network(
    name: str,
    local: bool = False,
    stored: bool = False,
    what: str = "weights",
    remedy: str = REMEDY,
    whole: bool = False,
) -> Iterator[None]:
    """Turn any error of a hub client while it loads `name` into one sentence.

    A hub that is out of reach is found out at once, and remembered for the next command.

    Args:
        local: `name` is a folder, so nothing is downloaded.
        stored: its weights are in the local cache, so the hub is not needed.
        whole: all that it needs is in the local cache, so the hub is not asked.
        what: of `name` is loaded, for the sentence.
        remedy: what to do without the network, for the sentence.
    """
    offline = is_offline()
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # hub clients log each of their attempts
    try:
        if not (local or offline or stored or whole):
            print(f"Fetching {name} from the model hub (kept for later commands).", file=sys.stderr)
            _check_hub(name, what, remedy)
        with _without_hub(whole or (stored and not offline and not hub_answers())):
            yield
    except VladError:
        raise
    except Exception as error:
        if local:
            raise BackboneError(
                f"The {what} of {name} cannot be read ({_first_line(error)}); get a new copy, or "
                "give another."
            ) from error
        if _is_gated(error):
            raise BackboneError(
                f"{name} is not on the model hub or closed to you there: check the name, or ask "
                "for access on its page and log in with `hf auth login`."
            ) from error
        why = (
            "they are not in the local cache and the network is forbidden (VLAD_OFFLINE or "
            "HF_HUB_OFFLINE is set)"
            if offline
            else f"the model hub is unreachable or refused ({_first_line(error)})"
        )
        raise BackboneError(
            f"Cannot load the {what} of {name}: {why}; connect once, {remedy}."
        ) from error
    finally:
        logging.disable(before)


def _is_gated(error: BaseException | None) -> bool:
    """Whether the hub refused for want of rights (401, 403), as what libraries raise around it."""
    from huggingface_hub.errors import GatedRepoError

    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, GatedRepoError) or status in (401, 403):
            return True
        error = error.__cause__ or error.__context__
    return False


def _check_hub(name: str, what: str, remedy: str) -> None:
    """Raises a BackboneError where the model hub does not answer, or did not a while ago."""
    if not hub_answers():
        raise BackboneError(
            f"Found no {what} of {name} on this disk, and the model hub ({_hub()[0]}) does not "
            f"answer: connect to the network, {remedy}."
        )


def hub_answers() -> bool:
    """Whether the model hub can be reached; a failure is remembered for a few minutes."""
    host, port = _hub()
    try:
        mark = cache_folder() / "hub-out-of-reach"
    except RuntimeError:  # no place for a cache
        return _connects(host, port)
    with contextlib.suppress(OSError):
        if mark.read_text() == host and time.time() - mark.stat().st_mtime < REMEMBERED:
            return False
    answers = _connects(host, port)
    with contextlib.suppress(OSError):
        if answers:
            mark.unlink(missing_ok=True)
        else:
            cache_write(mark, host.encode())
    return answers


def _hub() -> tuple[str, int]:
    """Host and port of the model hub, or of the proxy before it."""
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    proxy = urllib.request.getproxies().get(address.scheme)
    if proxy and not urllib.request.proxy_bypass(address.hostname or ""):
        address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return address.hostname or "", address.port or (443 if address.scheme == "https" else 80)


def _connects(host: str, port: int) -> bool:
    """In a thread, as no timeout holds for the resolving of names."""
    found = []

    def attempt() -> None:
        with contextlib.suppress(OSError), socket.create_connection((host, port), PATIENCE):
            found.append(True)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(found)


@contextmanager
def _without_hub(forbidden: bool) -> Iterator[None]:
    """Lets the hub client look in its cache alone."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or forbidden
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _first_line(error: Exception) -> str:
    return shown(next(iter(str(error).strip().splitlines()), type(error).__name__))


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
            check_archive(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BackboneError(
            f"{path} is not readable as weights ({_first_line(error)}); give a .safetensors or .pt "
            "file that holds tensors only."
        ) from error
    found = content.get("state_dict", content) if isinstance(content, dict) else {}
    state = {k.removeprefix("module."): v for k, v in found.items() if torch.is_tensor(v)}
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
