"""The images whose scores a head scales together, once all are added."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch

from vlad.types import Features, Scores, TextFeatures

Size = tuple[int, int]


class Scaling(Protocol):
    """A head that scales part of its image scores over all images scored together."""

    def compare(
        self, features: Features, text: TextFeatures | None
    ) -> tuple[torch.Tensor | None, ...]:
        """(B,) probability, then what else the map is made from, on the grid of patches."""

    def full_map(self, compared: Any, grid: Size, size: Size) -> torch.Tensor:
        """(B, H, W) maps from what `compare` gave."""

    def together(self, probabilities: torch.Tensor, maxima: torch.Tensor) -> torch.Tensor:
        """(N,) scores of all images from their probabilities and the maxima of their maps."""


class ScaledPool:
    """Keeps the inputs of the maps, on the grid of patches, until all images are added."""

    def __init__(self, head: Scaling):
        self.head = head
        self.parts: list[tuple[Any, Size, Size]] = []

    def add(self, features: Features, text: TextFeatures | None = None) -> None:
        kept = tuple(None if x is None else x.cpu() for x in self.head.compare(features, text))
        self.parts.append((kept, features.grid, features.size))

    def scores(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Scores]:
        maxima = []
        for number, part in enumerate(self.parts, start=1):
            # maps are made twice, since those of all images at full size may not fit in memory
            maxima.append(self.head.full_map(*part).flatten(1).amax(dim=1))
            if progress:
                progress(number, len(self.parts))
        probabilities = torch.cat([compared[0] for compared, _, _ in self.parts])
        scores = self.head.together(probabilities, torch.cat(maxima))
        for part, own in zip(self.parts, scores.split([len(x) for x in maxima]), strict=True):
            yield Scores(own, self.head.full_map(*part))
