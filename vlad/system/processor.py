"""The processor: its name and its instructions, as far as the system reports them."""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
VNNI = {"avx512_vnni", "avx_vnni"}
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the last on ARM


def name() -> str:
    """The name of the processor, or at least its architecture."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use; a container or a batch system may grant fewer than all."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return own or 1


def sums_bytes_exactly() -> bool:
    """Whether products of bytes are summed without overflow; False if unknown.

    x86 without VNNI sums pairs of products u8·s8 in 16 bits, which saturate; ARM does not.
    """
    return platform.machine().lower() in ("aarch64", "arm64") or bool(VNNI & _instructions())


def has_bfloat16() -> bool:
    """Whether there are instructions for products in bfloat16; False if unknown."""
    return bool(BFLOAT16 & _instructions())


def _instructions() -> set[str]:
    found = _cpuinfo()
    return set((found.get("flags") or found.get("Features") or "").split())  # x86, ARM


def _cpuinfo() -> dict[str, str]:
    """What Linux reports about the first core; empty on other systems."""
    try:
        first = CPUINFO.read_text(encoding="utf-8").partition("\n\n")[0]
    except (OSError, ValueError):
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
