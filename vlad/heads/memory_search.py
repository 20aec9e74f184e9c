"""Which remembered patch a patch is nearest to, and how far normal patches usually are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from vlad.heads.memory_chosen import chosen_images
from vlad.heads.memory_gather import ORIGIN
from vlad.heads.memory_layer import Layer
from vlad.heads.memory_own import MOST
from vlad.maths.neighbours import Bank
from vlad.types import Features, NearestPatch

if TYPE_CHECKING:
    from vlad.heads.memory import Memory

PATCHES = 64  # of each reference image whose usual distance is found


@dataclass(frozen=True, eq=False)
class Search:
    """Finds patches in memory, with the image, view and place that they are of.

    Attributes:
        layers: of the memory; the rows of all are of the same patches, unless some are forgotten.
        grid: (h, w) patches of each image.
        views: of each reference image, the first one itself.
        reach: grid cells within which patches are compared; None is all.
        chosen: views of images that patches are compared with; None is all.
        forgotten: the option for which only some patches are remembered, or "".
        origin: (M, 2) image and place of each row of the last layer, if some are forgotten; None if
            they are not known.
    """

    layers: Sequence[Layer]
    grid: tuple[int, int]
    views: int = 1
    reach: int | None = None
    chosen: Sequence[int] | None = None
    forgotten: str = ""
    origin: torch.Tensor | None = None

    def nearest(
        self, tokens: Sequence[torch.Tensor], distances: torch.Tensor, regions: torch.Tensor
    ) -> list[NearestPatch]:
        """The nearest remembered patch of the worst patch of each region.

        Args:
            tokens: (N, C) of one image, of each layer.
            distances: (N,) by which the worst patch is found.
            regions: (R, N) bool.
        """
        worst = torch.where(regions, distances, -torch.inf).argmax(dim=1).tolist()
        return [self._nearest([x[at] for x in tokens], at) for at in worst]

    def _nearest(self, tokens: Sequence[torch.Tensor], at: int) -> NearestPatch:
        """The remembered patch nearest to one patch, given by its tokens and its place."""
        patch = divmod(at, self.grid[1])
        pairs = zip(self.layers, tokens, strict=True)
        each = [layer.to_each(token) for layer, token in pairs]
        if self.forgotten:
            distance = torch.stack([x.amin() for x in each]).mean().item()
            if self.origin is None:
                why = f"With `{self.forgotten}` this head does not know which image a patch is of."
                return NearestPatch(None, None, None, distance, None, patch, why)
            image, place = map(int, self.origin[each[-1].argmin()])
            return NearestPatch(*self._where(image, place), distance, None, patch)
        rows = torch.stack(each).unflatten(1, (-1, *self.grid))
        if self.chosen is not None:
            others = torch.ones(rows.shape[1], dtype=torch.bool, device=rows.device)
            others[list(self.chosen)] = False
            rows[:, others] = torch.inf
        if self.reach is not None:
            near = [
                (torch.arange(side, device=rows.device) - own).abs() <= self.reach
                for side, own in zip(self.grid, patch, strict=True)
            ]
            rows[:, :, ~(near[0][:, None] & near[1])] = torch.inf
        distance = rows.flatten(1).amin(dim=1).mean().item()
        found = int(rows.mean(dim=0).argmin())
        where = self._where(*divmod(found, self.grid[0] * self.grid[1]))
        return NearestPatch(*where, distance, self.usual, patch)

    def _where(self, image: int, place: int) -> tuple[int, int, tuple[int, int]]:
        """(image, view, cell) of a patch; each view counts as an image."""
        return (*divmod(image, self.views), divmod(place, self.grid[1]))

    @property
    def usual(self) -> float | None:
        """Median distance of patches of reference images to those of others; None of a single one.

        Of up to 8 evenly spaced images up to 64 patches each are compared with all other images,
        once for each memory.
        """
        first = self.layers[0]
        if first.apart is None:
            first.apart = self._apart()
        return first.apart

    def _apart(self) -> float | None:
        size = self.grid[0] * self.grid[1]
        count = len(self.layers[0].rows) // (self.views * size)
        if count < 2:
            return None
        images = [i * count // min(count, MOST) for i in range(min(count, MOST))]
        step = max(1, size // PATCHES)
        found = [
            torch.stack([self._left_out(layer, i, step) for layer in self.layers]).mean(dim=0)
            for i in images
        ]
        return torch.cat(found).median().item()

    def _left_out(self, layer: Layer, image: int, step: int) -> torch.Tensor:
        """(n,) distances of every `step`-th patch of an image to those of other images."""
        if self.reach is not None:
            return layer.left_out(image, self.views)[1][0, ::step]
        images = layer.rows.unflatten(0, (-1, self.views, self.grid[0] * self.grid[1]))
        parts = [part for part in (images[:image], images[image + 1 :]) if len(part)]  # no copies
        banks = [Bank(part.flatten(0, 2), layer.space.metric) for part in parts]
        return torch.stack([bank.nearest(images[image, 0, ::step]) for bank in banks]).amin(dim=0)


def search_in(head: Memory, features: Features) -> Search:
    """The search in what a head remembers for one image."""
    names = [name for name, _ in head.compared(features)]
    chosen = chosen_images(head, features) if head.by_image else None
    return Search(
        [head.layer(name) for name in names],
        features.grid,
        head.rotations + len(set(head.views)),
        reach=head.position,
        chosen=None if chosen is None else chosen[0].tolist(),
        forgotten=head.forgets,
        origin=head.memory_.get(f"{names[-1]}{ORIGIN}"),
    )
