"""Keeps freed memory, for backbone passes that allocate the same blocks again."""

from __future__ import annotations

import contextlib
import ctypes

# numbers of <malloc.h>
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# bytes; activations of the largest backbones stay below
_LARGEST = 1 << 30


def keep_freed_memory() -> None:
    """Let this process keep freed memory instead of returning it to the system at once.

    glibc unmaps large freed blocks and trims the heap, so that every block of a backbone pays for
    fresh pages of its activations again. The setting is for the whole process: commands make
    it, the library never does. It has no effect with other C libraries.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _LARGEST)
