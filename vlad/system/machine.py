"""The machine that a time was measured on, the time of a matrix product, peak memory."""

from __future__ import annotations

import math
import os
import sys
import time

import torch

from vlad import __version__
from vlad.system import processor

PRODUCT = (1024, 768, 3072)  # rows, inputs and outputs of a matrix product as in a ViT-B/16


def machine(device: torch.device) -> dict[str, str | int | None]:
    """The versions of vlad and torch, the device by name, the processor and its cores."""
    on_gpu = device.type == "cuda"
    return {
        "vlad": __version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
        "cpu": processor.name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def product_ms(device: torch.device, dtype: torch.dtype, budget: float) -> float:
    """Milliseconds of one matrix product as in a ViT-B/16, the shortest of a few measurements.

    Args:
        budget: seconds to spend, roughly. If the whole product would take longer, only some of
            its rows are measured, and the time is scaled up.
    """
    rows, inputs, outputs = PRODUCT
    a = torch.ones(rows, inputs, device=device, dtype=dtype)
    b = torch.ones(inputs, outputs, device=device, dtype=dtype)
    repeats = 1 if device.type == "cpu" else 50  # one is too short to be timed on a GPU
    (a[:1] @ b)[0, 0].item()
    best = math.inf
    for part in (4, 4, 8, 16, 32, 64, 128, 256, 512, *[rows] * 3):
        start = time.perf_counter()
        for _ in range(repeats):
            product = a[:part] @ b
        product[0, 0].item()  # waits for the device
        took = time.perf_counter() - start
        best = min(best, took / repeats / part)
        budget -= took
        if budget < took:
            break
    return round(1000 * best * rows, 3)


def peak_memory() -> float | None:
    """The most memory this process has held, in MiB; None if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1 << 20 if sys.platform == "darwin" else 1 << 10)
