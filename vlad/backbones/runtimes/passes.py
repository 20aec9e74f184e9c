"""The vision passes of a tower by another runtime."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from vlad.backbones.runtimes.graph import TowerGraph
from vlad.backbones.tower import Tower
from vlad.backbones.vit import Taps


class Passes:
    """Called like `tower.vision`; makes the graph of each kind of pass when it first comes.

    Args:
        tower: its weights are what graphs are traced from.
        runtime: as `vlad.backbones.runtimes.load_runtime` gives it.

    Raises:
        GraphError: a pass that cannot be traced, or departs from torch.
        OutputError: the cache folder cannot be written to.
    """

    def __init__(self, tower: Tower, runtime):
        self.tower = tower
        self.runtime = runtime
        self._prepared: dict[tuple, object] = {}

    def __call__(
        self,
        pixels: torch.Tensor,
        *,
        prompts: Mapping[int, torch.Tensor] | None = None,
        **options,
    ) -> Taps:
        prompts = prompts or {}
        graph = TowerGraph(self.tower, prompts=prompts, **options)
        inputs = [pixels, *prompts.values()]
        # the number of pictures is the only thing that may change from call to call
        key = (self.tower.fingerprint, graph.key, *(tuple(x.shape[1:]) for x in inputs))
        if key not in self._prepared:
            self._prepared[key] = self.runtime.prepare(graph, inputs, key)
        with torch.no_grad():
            outputs = self._prepared[key](*inputs)
        return graph.unpack(outputs, pixels.shape[-2:])
