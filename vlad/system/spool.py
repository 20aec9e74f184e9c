"""Tensors that may outgrow memory: the first stay in it, the others go to temporary files."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence

import torch

from vlad.errors import OutputError

MEMORY = 2 << 30  # bytes kept in memory by one spool


class Spool:
    """Allocates tensors: up to `memory` bytes in memory, the rest on disk.

    A file is deleted with its tensor, or with the process however it ends (on Windows, with the
    folder for temporary files).
    """

    def __init__(self, memory: int = MEMORY):
        self.free = memory

    def empty(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """An uninitialised tensor.

        Raises:
            OutputError: there is no room for it on disk.
        """
        count = math.prod(shape)
        size = dtype.itemsize * count
        if size <= self.free:
            self.free -= size
            return torch.empty(*shape, dtype=dtype)
        try:
            handle, name = tempfile.mkstemp(prefix="vlad-")
        except OSError as error:
            raise self._no_room(size, error) from error
        try:
            if hasattr(os, "posix_fallocate"):  # a full disk is an error now, not a crash later
                os.posix_fallocate(handle, 0, size)
            found = torch.from_file(name, shared=True, size=count, dtype=dtype)
            return found.reshape(tuple(shape))
        except OSError as error:
            raise self._no_room(size, error) from error
        finally:
            os.close(handle)
            if os.name != "nt":
                os.unlink(name)

    def _no_room(self, size: int, error: OSError) -> OutputError:
        return OutputError(
            f"Comparing the images needs {size >> 20} MiB of temporary files "
            f"({error.strerror}); free space, set TMPDIR, or score fewer images at a time."
        )

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of a tensor."""
        return self.empty(tensor.shape).copy_(tensor)
