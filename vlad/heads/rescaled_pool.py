"""Image scores whose part from the maps is scaled over all images scored together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch

from vlad.maths.rescore import scale
from vlad.types import Features, Scores, TextFeatures


class Rescaled(Protocol):
    """A head whose image score is the mean of a probability and a scaled maximum of its map."""

    def compare(
        self, features: Features, text: TextFeatures | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """(B, L, h·w) logits, (B, h·w) distances or None, and (B,) probability from the prompts."""

    def full_map(
        self,
        logits: torch.Tensor,
        distance: torch.Tensor | None,
        grid: tuple[int, int],
        size: tuple[int, int],
    ) -> torch.Tensor:
        """(B, H, W) maps from these logits and distances."""


class RescaledPool:
    """Keeps the inputs of the maps, on the grid of patches, until all images are added."""

    def __init__(self, head: Rescaled):
        self.head = head
        self.parts: list[tuple] = []

    def add(self, features: Features, text: TextFeatures | None = None) -> None:
        compared = self.head.compare(features, text)
        kept = (None if x is None else x.cpu() for x in compared)
        self.parts.append((*kept, features.grid, features.size))

    def scores(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Scores]:
        make = self.head.full_map
        maxima = [make(x, d, grid, size).flatten(1).amax(1) for x, d, _, grid, size in self.parts]
        together = scale(torch.cat(maxima)).split([len(x) for x in maxima])
        for (logits, distance, probability, grid, size), scaled in zip(
            self.parts, together, strict=True
        ):
            yield Scores((probability + scaled) / 2, make(logits, distance, grid, size))
