"""Which weights a model has, how large they are, and whether they fit into memory."""

from __future__ import annotations

import hashlib
import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from vlad.errors import VlmError
from vlad.system.text import shown

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
WEIGHTS = "model*.safetensors"  # what transformers reads; some repositories hold others too
WORK = 1.2  # memory that a model needs, as a multiple of its weights


def check_memory(name: str, config: Any, dtype: str, device: torch.device) -> int:
    """Bytes of the weights of a model in memory; 0 if unknown.

    Args:
        config: of the model.
        dtype: "auto" is as stored.

    Raises:
        VlmError: the free memory of the device is too small.
    """
    size = stored_bytes(name)
    if dtype != "auto":
        stored = str(config.dtype).removeprefix("torch.")
        size = size * BYTES[dtype] // BYTES.get(stored, BYTES[dtype])
    free = free_memory(device)
    if free is not None and size * WORK > free:
        raise VlmError(
            f"{shown(name)} needs about {size * WORK / 2**30:.1f} GiB of memory, and "
            f"{device.type} has {free / 2**30:.1f} GiB free; choose a smaller model, or an "
            "endpoint on another machine."
        )
    return size


def stored_bytes(name: str) -> int:
    """Bytes of the weights of a model, on disk or on the hub; 0 if unknown."""
    if Path(name).is_dir():
        return sum(file.stat().st_size for file in Path(name).glob(WEIGHTS))
    from huggingface_hub import HfApi, constants, try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    if isinstance(config, str) and any(Path(config).parent.glob(WEIGHTS)):
        return stored_bytes(str(Path(config).parent))
    if constants.HF_HUB_OFFLINE:
        return 0
    files = HfApi().model_info(name, files_metadata=True).siblings or []
    return sum(file.size or 0 for file in files if fnmatch(file.rfilename, WEIGHTS))


def free_memory(device: torch.device) -> int | None:
    """Free bytes of a GPU, or of this machine; None if the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def fingerprint(name: str, config: Any) -> str:
    """The name of a model with its commit on the hub, or with size and time of files on disk."""
    commit = getattr(config, "_commit_hash", None)
    if commit and not Path(name).is_dir():
        return f"{name}@{commit[:16]}"
    files = sorted(file for file in Path(name).glob("*") if file.is_file())
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return f"{name}@{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"
