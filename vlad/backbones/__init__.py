"""Backbones by name, file or folder.

vlad-tiny                         the small backbone that ships with vlad
ViT-B-16-plus-240/laion400m_e31   an open_clip model and its pretrained tag
ViT-L-14-336                      the same with the first tag that open_clip lists
weights.pt, weights.safetensors   a local CLIP checkpoint; architecture from its tensors or a JSON
ViT-B-16=weights.pt               the same with the architecture named
path/to/folder                    a folder of transformers, timm or open_clip
hf-hub:me/mine                    a repository of the model hub in one of these three layouts
openai/clip-vit-base-patch16      a model of transformers from the model hub
timm/resnet50.a1_in1k             a network of timm and its pretrained tag
any other name                    of another package, registered under the entry-point group
                                  "vlad.backbones" as a function () -> Backbone
"""

from __future__ import annotations

import os
import warnings
from contextlib import nullcontext
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from vlad.backbones.tiny import WEIGHTS
from vlad.errors import BackboneError

if TYPE_CHECKING:
    from types import ModuleType

    from vlad.backbones.backbone import Backbone
    from vlad.types import BackboneInfo

DEFAULT = "ViT-B-16-plus-240/laion400m_e31"
EMBEDDED = {"vlad-tiny": WEIGHTS}
TRIAL = 0.05  # seconds to measure products in one dtype


def load_backbone(
    name: str = DEFAULT, device: str = "auto", dtype: str = "float32", runtime: str = "torch"
) -> Backbone:
    """Load a backbone by name, file or folder (see the list in this module).

    Args:
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: "float32", "bfloat16" or "float16"; some runtimes support "int8".
        runtime: name of the runtime of its vision passes (see `vlad.backbones.runtimes`).

    A UserWarning states the measured slowdown if the CPU is slower in bfloat16.

    Raises:
        BackboneError: an unknown name, or weights that are not found or do not fit.
        GraphError: the runtime is not installed, or does not support `dtype` or `device`.
    """
    import torch

    from vlad.backbones.runtimes import OUTSIDE_TORCH, load_runtime, use
    from vlad.system.torch_state import own_state

    made = load_runtime(runtime, dtype, device)  # fail before a download
    if runtime in OUTSIDE_TORCH:
        device, dtype = "cpu", "float32"
    # libraries draw weights before they load those of a file
    with own_state(), torch.random.fork_rng(devices=[]):
        backbone = _find(str(name))
    try:
        backbone.to(choose_device(device), getattr(torch, dtype))
    except Exception as error:  # each kind of device raises its own errors
        raise BackboneError(
            f"Cannot move the backbone to device {device!r} ({error}); choose another `device`."
        ) from error
    if dtype == "bfloat16" and backbone.device.type == "cpu" and (slow := _slow_bfloat16()):
        warnings.warn(slow, stacklevel=1)
    return use(backbone, made) if made else backbone


@cache
def _slow_bfloat16() -> str | None:
    """A warning if matrix products in bfloat16 are slower than in float32 on this CPU."""
    import torch

    from vlad.system.machine import product_ms
    from vlad.system.processor import has_bfloat16

    if has_bfloat16():
        return None
    half, full = (
        product_ms(torch.device("cpu"), dtype, TRIAL) for dtype in (torch.bfloat16, torch.float32)
    )
    if half <= full:
        return None
    return (
        f"bfloat16 is {half / full:.1f} times slower than float32 on this CPU ({half:.0f} ms and "
        f"{full:.0f} ms for one matrix product); use float32."
    )


def choose_device(device: str) -> str:
    """The device itself, or for "auto" a GPU if there is one."""
    import torch

    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def describe(name: str) -> BackboneInfo:
    """What heads may know of a backbone; one of a model hub is not downloaded for it.

    Of a folder of transformers the configuration is read, and no weights.

    Raises:
        BackboneError: as `load_backbone`.
    """
    if os.path.isdir(name) and _library(Path(name)) == "transformers":
        from vlad.backbones import transformers

        return transformers.describe(name)
    if _is_local(name):
        return load_backbone(name, "cpu").info
    source, rest = _remote(name)
    return source.describe(rest)


def describe_remote(name: str) -> BackboneInfo | None:
    """What heads may know of a backbone that has to be downloaded; None if it is on this disk.

    Raises:
        BackboneError: an unknown name, or a configuration that cannot be fetched or is unsupported.
    """
    found = remote_source(name)
    if found is None or found[0].is_stored(found[1]):
        return None
    return found[0].describe(found[1])


def remote_source(name: str) -> tuple[ModuleType, str] | None:
    """The module that fetches a backbone from a hub, and the name that it knows; None if local.

    Raises:
        BackboneError: an unknown name.
    """
    return None if _is_local(name) else _remote(name)


def _is_local(name: str) -> bool:
    return (
        name in EMBEDDED
        or bool(entry_points(group="vlad.backbones", name=name))
        or os.path.exists(name)  # False for names too long
        or "=" in name
    )


def _find(name: str) -> Backbone:
    from vlad.backbones import clip
    from vlad.backbones.network import is_offline, without_hub

    if not _is_local(name):
        source, rest = _remote(name)
        return source.from_hub(rest)
    if name in EMBEDDED:
        from vlad.backbones.tiny.load import load

        return load(name)
    if found := entry_points(group="vlad.backbones", name=name):
        with without_hub() if is_offline() else nullcontext():
            return next(iter(found)).load()()
    if os.path.isdir(name):
        return from_folder(Path(name))
    model, _, path = name.rpartition("=") if not os.path.isfile(name) else ("", "", name)
    if not os.path.isfile(path):
        raise BackboneError(f"Weights file {path} not found; correct the path.")
    return clip.from_file(Path(path), model or None)


def from_folder(path: Path) -> Backbone:
    """The backbone in a folder, whose config tells the library that wrote it.

    Raises:
        BackboneError: files that are missing or do not fit.
    """
    from vlad.backbones import clip

    library = _library(path)
    if library == "open_clip":
        return clip.from_folder(path, path)
    if library == "timm":
        from vlad.backbones import timm

        return timm.from_folder(path)
    from vlad.backbones import transformers

    return transformers.from_folder(path)


def _library(path: Path) -> str:
    """The library whose model a folder holds; transformers if no other's configuration is there."""
    from vlad.backbones import clip

    if (path / clip.CONFIG).is_file():
        return "open_clip"
    return "timm" if is_timm_folder(path) else "transformers"


def is_timm_folder(path: Path) -> bool:
    """Return whether config.json is one of timm."""
    from vlad.system.resources import read_json

    try:
        config = read_json(path / "config.json")
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "architecture" in config and "model_type" not in config


def _remote(name: str) -> tuple[ModuleType, str]:
    """The module that fetches a backbone from a hub, and the name that it knows."""
    if name.startswith("hf-hub:"):
        from vlad.backbones import repository

        return repository, name.removeprefix(repository.PREFIX)
    if name.startswith("timm/"):
        from vlad.backbones import timm

        return timm, name
    from vlad.backbones import open_clip

    if open_clip.is_model(name.partition("/")[0]):
        return open_clip, name
    looks_like_a_path = name.startswith((".", "/", "~")) or Path(name).suffix in {
        ".pt", ".pth", ".bin", ".safetensors",
    }  # fmt: skip
    if name.count("/") != 1 or looks_like_a_path:
        raise BackboneError(
            f"Unknown backbone {name!r}: not a file or folder, an open_clip model or a built-in "
            f"backbone ({', '.join(EMBEDDED)}); name one from `vlad backbones`."
        )
    from vlad.backbones import transformers

    return transformers, name
