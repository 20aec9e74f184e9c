"""One layer of what the head memory remembers, and the distances of patches to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from vlad.maths.moments import Moments
from vlad.maths.neighbours import Bank, Metric, widest
from vlad.maths.placed import PlacedBank
from vlad.maths.whitening import whitening
from vlad.system.torch_state import own_state

# rows, at most, whose distances give the scale of the maps
SAMPLE = 4096


class Space:
    """The space in which tokens are compared.

    Args:
        metric: as in `vlad.maths.neighbours.Bank`.
        moments: of the stored tokens of all normal images, which are then whitened; distances are
            squared Euclidean there, with "cosine" between tokens that were of unit length before.

    Attributes:
        metric: that of the space.
    """

    def __init__(self, metric: Metric, moments: Moments | None = None):
        self.metric: Metric = "squared_l2" if moments else metric
        self.unit = metric == "cosine"
        self.whitened = whitening(moments) if moments else None

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """(..., C) tokens, stored ones or others, -> (..., K)."""
        if self.whitened is None:
            return tokens
        mean, axes = self.whitened
        return ((F.normalize(tokens, dim=-1) if self.unit else tokens) - mean) @ axes


@dataclass
class Layer:
    """Remembered tokens, each form that a search needs made once.

    Attributes:
        source: (M, C) tokens as they are stored.
        space: that in which they are compared.
        grid: of each image; None if it is not known which place and image a token is of.
        reach: grid cells within which patches are compared; None is all.
        apart: how far patches of reference images usually are from each other, once it is known.
    """

    source: torch.Tensor
    space: Space
    grid: tuple[int, int] | None = None
    reach: int | None = None
    banks: dict[bool, Bank | PlacedBank] = field(default_factory=dict)
    span: float | None = None
    apart: float | None = None

    def __post_init__(self) -> None:
        self.rows = self.space(self.source)

    def nearest(
        self, tokens: torch.Tensor, chosen: torch.Tensor | None, bfloat16: bool
    ) -> torch.Tensor:
        """(B, N) distance of each of (B, N, C) tokens to the nearest one remembered.

        Args:
            chosen: (B, k) images that each image is compared with; None is all.
            bfloat16: as in `vlad.maths.neighbours.Bank`.
        """
        tokens = self.space(tokens)
        if chosen is None:
            if bfloat16 not in self.banks:
                self.banks[bfloat16] = self._bank(self.rows, bfloat16)
            return self.banks[bfloat16].nearest(tokens)
        assert self.grid  # whoever chooses images knows their grid
        images = self.rows.unflatten(0, (-1, self.grid[0] * self.grid[1]))
        each = [
            self._bank(images[own].flatten(0, 1), bfloat16).nearest(x[None])
            for x, own in zip(tokens, chosen, strict=True)
        ]
        return torch.cat(each)

    def to_each(self, token: torch.Tensor) -> torch.Tensor:
        """(M,) distances of one token (C,) to each one remembered."""
        token = self.space(token)
        if self.space.metric == "cosine":
            return (1 - self.rows @ F.normalize(token, dim=-1)).clamp_min(0)
        parts = self.rows.split(SAMPLE)  # so that differences need little memory
        return torch.cat([(part - token).square().sum(dim=-1) for part in parts])

    def left_out(self, image: int, views: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, N, C) tokens of a remembered image and (1, N) their distance to those of others.

        Args:
            image: which, counted without views.
            views: of each image, the first one itself; its own are left out too.
        """
        assert self.grid  # whoever leaves images out knows their grid
        images = self.rows.unflatten(0, (-1, views, self.grid[0] * self.grid[1]))
        others = torch.cat([images[:image], images[image + 1 :]]).flatten(0, 2)
        distance = self._bank(others, bfloat16=False).nearest(images[image, :1])
        return self.source.unflatten(0, images.shape[:3])[image, :1], distance

    @own_state()
    def widest(self) -> float:
        """The largest distance between two of the tokens, found once."""
        if self.span is None:
            sample = self.rows
            if len(sample) > SAMPLE:
                steps = torch.arange(SAMPLE, device=sample.device)
                sample = sample[steps * (len(sample) - 1) // (SAMPLE - 1)]
            self.span = widest(sample)
            if self.space.metric == "cosine":  # ‖a−b‖² = 2 (1 − cos) for vectors of unit length
                self.span /= 2
        return self.span

    def _bank(self, rows: torch.Tensor, bfloat16: bool) -> Bank | PlacedBank:
        if self.reach is None:
            return Bank(rows, self.space.metric, bfloat16)
        assert self.grid
        images = rows.unflatten(0, (-1, *self.grid))
        return PlacedBank(images, self.reach, self.space.metric, bfloat16)
