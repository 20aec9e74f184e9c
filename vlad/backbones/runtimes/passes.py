"""The vision passes of a backbone in another runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from vlad.backbones.backbone import Backbone
from vlad.backbones.runtimes.graph import BackboneGraph
from vlad.backbones.vit import Taps


class Passes:
    """Callable like `backbone.vision`; creates the graph of each kind of pass on first use.

    Args:
        backbone: the backbone to trace.
        runtime: from `vlad.backbones.runtimes.load_runtime`.

    Raises:
        GraphError: a pass cannot be traced, or deviates from torch.
        OutputError: the cache folder is not writable.
    """

    def __init__(self, backbone: Backbone, runtime):
        self.backbone = backbone
        self.runtime = runtime
        self._prepared: dict[tuple, Callable[..., Sequence[torch.Tensor]]] = {}

    def __call__(
        self,
        pixels: torch.Tensor,
        *,
        prompts: Mapping[int, torch.Tensor] | None = None,
        **options,
    ) -> Taps:
        prompts = prompts or {}
        graph = BackboneGraph(self.backbone, prompts=prompts, **options)
        inputs = [pixels, *prompts.values()]
        # only the number of images may change between calls
        key = (self.backbone.fingerprint, graph.key, *(tuple(x.shape[1:]) for x in inputs))
        if key not in self._prepared:
            self._prepared[key] = self.runtime.prepare(graph, inputs, key)
        with torch.no_grad():
            outputs = self._prepared[key](*inputs)
        return graph.unpack(outputs, pixels.shape[-2:])
