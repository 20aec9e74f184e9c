"""The images whose scores a head scales together, once all are added."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch

from vlad.system.spool import Spool
from vlad.types import Features, Scores, TextFeatures


class Scaling(Protocol):
    """A head that scales part of its image scores over all images scored together."""

    def compare(
        self, features: Features, text: TextFeatures | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) probabilities by the image embedding, and (B, H, W) maps."""

    def together(self, probabilities: torch.Tensor, maxima: torch.Tensor) -> torch.Tensor:
        """(N,) scores of all images from their probabilities and the maxima of their maps."""


class ScaledPool:
    """Keeps maps, in memory and temporary files, until all images are added."""

    def __init__(self, head: Scaling):
        self.head = head
        self.spool = Spool()
        self.maps: list[torch.Tensor] = []
        self.probabilities: list[torch.Tensor] = []
        self.maxima: list[torch.Tensor] = []

    def add(self, features: Features, text: TextFeatures | None = None) -> None:
        probabilities, maps = self.head.compare(features, text)
        self.maps.append(self.spool.keep(maps))
        self.probabilities.append(probabilities.cpu())
        self.maxima.append(maps.flatten(1).amax(dim=1).cpu())

    def scores(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Scores]:
        both = torch.cat(self.probabilities), torch.cat(self.maxima)
        scores = self.head.together(*both).split([len(x) for x in self.maps])
        if progress:
            progress(len(scores), len(scores))
        for own, maps in zip(scores, self.maps, strict=True):
            yield Scores(own, maps)
