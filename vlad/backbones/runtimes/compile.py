"""torch.compile: the same weights in the same process, with fused kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from vlad.backbones.runtimes.graph import BackboneGraph
from vlad.errors import GraphError


class Compiled:
    """Compile each kind of pass; on CUDA its kernels are replayed as one CUDA graph.

    A pass is recompiled for another number of images, and in every process; torch caches the
    kernels itself.

    Args:
        precision: precision of the backbone's weights, already set in torch.
    """

    name = "compile"

    def __init__(self, precision: str):
        self.precision = precision

    def prepare(
        self, graph: BackboneGraph, inputs: Sequence[torch.Tensor], key: tuple
    ) -> Callable[..., tuple[torch.Tensor, ...]]:
        """The compiled pass.

        Raises:
            GraphError: torch cannot compile it on this machine.
        """
        on_gpu = inputs[0].is_cuda
        with torch.no_grad():
            graph(*inputs)  # keeps resized and turned positions, which a compiled pass must not own
        compiled = torch.compile(
            graph, dynamic=False, mode="reduce-overhead" if on_gpu else "default"
        )

        def run(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            outputs = compiled(*inputs)
            # the next replay of a CUDA graph reuses the memory
            return tuple(x.clone() for x in outputs) if on_gpu else outputs

        try:
            with torch.no_grad():
                run(*inputs)
        except Exception as error:  # from the compiler, C++ or Triton
            reason = str(error).strip().partition("\n")[0]
            raise GraphError(
                f"torch.compile cannot compile this backbone here ({reason}); choose another "
                "runtime."
            ) from error
        return run
