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
    """Hands out tensors, in memory until `memory` bytes are taken and on disk from there.

    A file goes away with its tensor, and with the process whatever becomes of it (on Windows, with
    the folder for temporary files).
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
            f"{size >> 20} MiB of temporary files are needed to compare the images "
            f"({error.strerror}); free some, set TMPDIR, or score fewer images at a time."
        )

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of a tensor."""
        return self.empty(tensor.shape).copy_(tensor)
