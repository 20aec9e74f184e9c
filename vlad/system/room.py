"""How much a device has room for."""

from __future__ import annotations

import torch

# entries of float32: 1 GiB, beyond which products are no faster
MOST = 1 << 28
# of the free memory of a GPU, so that copies and sorted rows fit beside the matrix
SHARE = 8


def entries(device: torch.device | str, least: int) -> int:
    """Entries of one block of a large product: `least`, or on a GPU what suits its free memory.

    Args:
        least: entries that fit any device, and the caches of a CPU.
    """
    device = torch.device(device)
    return least if device.type != "cuda" else max(least, min(MOST, _free(device) // SHARE // 4))


def holds(device: torch.device | str, tensor: torch.Tensor) -> bool:
    """True if a device has room for a tensor of the host: a GPU whose free memory it half fills."""
    device = torch.device(device)
    return device.type == "cuda" and 2 * tensor.nbytes <= _free(device)


def _free(device: torch.device) -> int:
    # what torch holds for later tensors is free too
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + held
