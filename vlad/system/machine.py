"""What a measured time depends on besides the code, and how much memory was taken."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import torch

from vlad import __version__


def machine(device: torch.device) -> dict[str, str | int | None]:
    """The versions of vlad and torch, the device by name, the processor and its cores."""
    on_gpu = device.type == "cuda"
    return {
        "vlad": __version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _cpu() -> str:
    """The name of the processor, or at least its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, ValueError):  # not Linux
        pass
    return platform.processor() or platform.machine()


def peak_memory() -> float | None:
    """The most memory this process has held, in MiB; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1 << 20 if sys.platform == "darwin" else 1 << 10)
