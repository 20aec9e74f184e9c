"""The images that MuSc scores jointly, in memory and temporary files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from vlad.errors import HeadError
from vlad.maths.maps import upsample
from vlad.maths.mutual import (
    block_pairs,
    block_side,
    distances_to_others,
    images_together,
    mutual_similarity,
)
from vlad.maths.precision import PAD, as_bfloat16
from vlad.maths.rescore import rescore
from vlad.system.spool import Spool
from vlad.types import Features, Layer, Scores, TextFeatures

if TYPE_CHECKING:
    from vlad.heads.musc import MuSc


def multiplies_again(device: torch.device) -> bool:
    """True where each pair of images is multiplied twice, and no similarity is stored."""
    return device.type == "cuda"


class MuScPool:
    """Images to score jointly once all are added."""

    def __init__(self, head: MuSc):
        self.head = head
        self.spool = Spool()
        self.tokens: dict[Layer, list[torch.Tensor]] = {}
        self.images: list[torch.Tensor] = []
        self.finite: list[torch.Tensor] = []
        # those of the images
        self.device, self.bfloat16 = torch.device("cpu"), False
        self.grid: tuple[int, int] = (0, 0)
        self.size: tuple[int, int] = (0, 0)

    def add(self, features: Features, text: TextFeatures | None = None) -> None:
        """Add a batch; images with non-finite features are not compared.

        Raises:
            HeadError: the size of the images differs from earlier batches.
        """
        if self.tokens and features.size != self.size:
            raise HeadError(
                f"Head musc cannot compare images at {features.size[0]} and {self.size[0]} "
                "pixels; give all of them one image size."
            )
        every = list(features.patches.values())
        every += [] if features.image is None else [features.image]
        whole = [x.isfinite().flatten(1).all(dim=1) for x in every]
        finite = torch.stack(whole).all(dim=0).cpu()
        kept = finite.nonzero().flatten()
        for n, x in features.patches.items():
            self.tokens.setdefault(n, []).append(self.spool.keep(x.cpu()[kept]))
        if features.image is not None:
            self.images.append(features.image.cpu()[kept])
        self.finite.append(finite)
        self.device, self.grid, self.size = every[0].device, features.grid, features.size
        self.bfloat16 = features.bfloat16

    def scores(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Scores]:
        """Scores in the order added; NaN for images with non-finite features.

        Raises:
            HeadError: fewer than two images to compare.
        """
        grid_maps = self.grid_maps(progress)
        scores = torch.cat(list(self.largest(grid_maps)))
        if self.head.neighbours:
            finite = torch.cat(self.finite)
            likeness = self.likeness(grid_maps)
            scores[finite] = rescore(scores[finite], likeness, self.head.neighbours)
        for part in grid_maps:
            own, scores = scores[: len(part)], scores[len(part) :]
            yield Scores(own, upsample(part, self.size, align_corners=True))

    def largest(self, grid_maps: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The maximum of each map at full size, which can be below that of the grid."""
        for part in grid_maps:
            yield upsample(part, self.size, align_corners=True).flatten(1).amax(dim=1)

    def likeness(self, grid_maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """(N, D) vectors whose cosines say how alike the compared images are."""
        if not self.head.v2:
            return torch.cat(self.images)
        tokens = self.tokens[salient_layer(self.tokens)]
        found = [
            self.head.salient(x.to(self.device), grid_map[finite].to(self.device))
            for x, grid_map, finite in zip(tokens, grid_maps, self.finite, strict=True)
        ]
        return torch.cat(found).cpu()

    def grid_maps(self, progress: Callable[[int, int], None] | None = None) -> list[torch.Tensor]:
        """(B, h, w) mean distances, one tensor for each batch added."""
        count = int(torch.cat(self.finite).sum()) if self.finite else 0
        if count < 2:
            raise HeadError(
                f"Head musc compares images with each other, but only {count} can be used; give it "
                "at least 2."
            )
        patches = self.grid[0] * self.grid[1]
        settings = self.head.comparisons(self.tokens)
        again = multiplies_again(self.device)
        side = block_side(patches, self.device)
        together = images_together(count, patches, self.device)
        steps = len(settings) * (count if again else len(list(block_pairs(count, side))))
        ticks = itertools.count(1)

        def tick() -> None:
            done = next(ticks)
            if progress:
                progress(done, steps)

        apart = None if again else self.spool.empty((count, count, patches))
        pad, dtype = (PAD, torch.bfloat16) if self.bfloat16 else (0, torch.float32)
        pad += self.head.v2  # its rows are lifted
        # stages of a convolutional network have channels of their own
        widths = {n: parts[0].shape[-1] + pad for n, parts in self.tokens.items()}
        room = {w: self.spool.empty((count, patches, w), dtype) for w in set(widths.values())}
        total = torch.zeros(count, patches)
        for n, sides in settings:
            at, rows = 0, room[widths[n]]
            for part in self.tokens[n]:
                found = self.head.rows(part.to(self.device), self.grid, sides)
                rows[at : at + len(part)] = as_bfloat16(found) if self.bfloat16 else found
                at += len(part)
            if apart is None:
                total += distances_to_others(rows, self.head.distance, tick, self.device, together)
                continue
            mutual_similarity(rows, apart, tick, self.device, side)
            for i, near in enumerate(apart):
                others = torch.cat([near[:i], near[i + 1 :]])
                total[i] += self.head.distance(others[None])[0]
        waiting = iter((total / len(settings)).unflatten(1, self.grid))
        return [
            torch.stack(
                [next(waiting) if good else torch.full(self.grid, torch.nan) for good in part]
            )
            for part in self.finite
        ]


def salient_layer(layers: Iterable[Layer]) -> Layer:
    """The layer of RsCon: the last but one, or the only one."""
    return list(layers)[-2:][0]
