"""The vision passes of a backbone by another runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from vlad.backbones.backbone import Backbone
from vlad.backbones.runtimes.graph import BackboneGraph
from vlad.backbones.vit import Taps


class Passes:
    """Called like `backbone.vision`; makes the graph of each kind of pass when it first comes.

    Args:
        backbone: its weights are what graphs are traced from.
        runtime: as `vlad.backbones.runtimes.load_runtime` gives it.

    Raises:
        GraphError: a pass that cannot be traced, or departs from torch.
        OutputError: the cache folder cannot be written to.
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
        # the number of images is the only thing that may change from call to call
        key = (self.backbone.fingerprint, graph.key, *(tuple(x.shape[1:]) for x in inputs))
        if key not in self._prepared:
            self._prepared[key] = self.runtime.prepare(graph, inputs, key)
        with torch.no_grad():
            outputs = self._prepared[key](*inputs)
        return graph.unpack(outputs, pixels.shape[-2:])
