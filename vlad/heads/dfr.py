"""DFR (Shi et al., Neurocomputing 2021, arXiv 2012.07122)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.heads.head import Layered
from vlad.heads.networks import (
    Tensors,
    batch_norm,
    check_rows,
    fit_network,
    learnable,
    new_norm,
    uniform,
)
from vlad.heads.rules import LAYERS, SHARE, optional, whole
from vlad.maths.maps import upsample
from vlad.maths.parts import parts_of
from vlad.system.torch_state import own_state
from vlad.types import Features, Parts, Scores, TextFeatures

CELL = 4  # side of the squares averaged on maps resized to `side` times as much
FIRST = 10  # images whose principal components set the width of the middle
VARIANCE = 0.9  # that these components hold
LEARNING_RATE = 1e-4
BATCH = 4  # images in a step
LINEAR = (2, 5)  # layers without batch norm and ReLU


@dataclass(eq=False, repr=False)
class DFR(Layered):
    """A narrow autoencoder learns to rebuild the patch tokens of normal images.

    The vector of a place joins all layers. A place is as anomalous as its vector differs from what
    the autoencoder makes of it, mean square over channels; an image as its most anomalous place.

    Args:
        layers: blocks whose patch tokens are joined: block numbers, fractions of the depth, or
            lists of them whose tokens are averaged first; None takes those that the backbone names
            for comparisons, else one, two and three quarters of the depth.
        side: places a side of the map that tokens are resized to; None is their own grid.
        epochs: most passes over the normal images.
        hold_out: share of the normal images, if there are at least 10, whose loss says when to
            stop; 0 runs all epochs.
        seed: seed of the first weights, the order and what is held out.
    """

    normals = "needed"
    rules: ClassVar = {
        "layers": optional(LAYERS),
        "side": optional(whole(1, 256)),
        "epochs": whole(1, 10**6),
        "hold_out": SHARE,
        "seed": whole(0, 2**32 - 1),
    }

    layers: Parts | None = None
    side: int | None = None
    epochs: int = 150
    hold_out: float = 0.2
    seed: int = 0

    @property
    def map_range(self) -> tuple[float, float]:
        """From 0 to the mean variance of the channels over the normal images, in three digits.

        That is the error of the best constant answer. Maps of what is stranger lie above it.

        Raises:
            HeadError: the head is not fitted.
        """
        return 0.0, float(f"{self.needed_memory()['variance'].item():.3g}")

    @own_state()
    def fit(self, features: Features) -> DFR:
        """Fit the autoencoder on normal images.

        Raises:
            HeadError: features with NaN or infinity, or the same everywhere.
        """
        rows, _ = self._regions(features)
        check_rows(self.name, rows)
        generator = torch.Generator().manual_seed(self.seed)
        middle = components(rows[:FIRST].flatten(0, 1))
        tensors = initial(rows.shape[-1], middle, generator)
        tensors = {name: x.to(rows) for name, x in tensors.items()}
        optimiser = make_optimiser(tensors)
        fitted = fit_network(
            self.name,
            rows,
            tensors,
            lambda batch: step(batch, tensors, optimiser),
            lambda batch: error(batch, tensors).mean(),
            epochs=self.epochs,
            batch=BATCH,
            hold_out=self.hold_out,
            generator=generator,
        )
        variance = rows.flatten(0, 1).var(dim=0, correction=0).mean(dim=0, keepdim=True)
        self.memory_ = {**fitted, "variance": variance}
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images: squared errors, from 0.

        Raises:
            HeadError: the head is not fitted.
        """
        found, grid = self._errors(features)
        return Scores(
            image_score=found.amax(dim=1),
            anomaly_map=upsample(found.unflatten(1, grid), features.size, align_corners=True),
        )

    def contributions(self, features: Features, text: TextFeatures | None) -> torch.Tensor | None:
        """(h·w,) the whole score at the worst place; None if `side` is set, for another grid."""
        if self.side is not None:
            return None
        found, _ = self._errors(features)
        return parts_of(lambda x: x.amax(dim=1), found)[0]

    def without(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> torch.Tensor | None:
        """Scores with the vectors of each region rebuilt as they are; None if `side` is set."""
        if self.side is not None:
            return None
        found, _ = self._errors(features)
        return torch.where(regions, 0.0, found).amax(dim=1)

    def _errors(self, features: Features) -> tuple[torch.Tensor, tuple[int, int]]:
        """(B, P) squared errors and the grid of their places."""
        tensors = dict(self.needed_memory())
        rows, grid = self._regions(features)
        return error(rows.flatten(0, 1), tensors).view(rows.shape[:2]), grid

    def _regions(self, features: Features) -> tuple[torch.Tensor, tuple[int, int]]:
        """(B, P, C) vectors and the grid of their places."""
        patches = list(features.patches.values())
        if self.side is None:
            return torch.cat(patches, dim=-1), features.grid
        return regional(patches, features.grid, self.side), (self.side, self.side)


def regional(layers: Sequence[torch.Tensor], grid: tuple[int, int], side: int) -> torch.Tensor:
    """(B, h·w, C) tokens of each layer -> (B, side·side, ΣC), resized and averaged over 4×4."""
    image = torch.cat(list(layers), dim=-1).transpose(1, 2).unflatten(2, grid)
    large = F.interpolate(
        image, size=(CELL * side, CELL * side), mode="bilinear", align_corners=True
    )
    return F.avg_pool2d(large, CELL).flatten(2).transpose(1, 2)


def components(rows: torch.Tensor) -> int:
    """The least number of principal components of (N, C) vectors that hold 90 % of the variance."""
    centred = (rows - rows.mean(dim=0)).double()
    if len(centred) < centred.shape[1]:  # the same values from the smaller product
        centred = centred.T
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0).flip(0)
    share = values.cumsum(dim=0) / values.sum()
    return int((share <= VARIANCE).sum()) + 1


def initial(channels: int, middle: int, generator: torch.Generator) -> Tensors:
    """The tensors before the first step, as torch begins convolutions of one place."""
    side = (channels + 2 * middle) // 2
    widths = (channels, side, 2 * middle, middle, 2 * middle, side, channels)
    tensors: Tensors = {}
    for layer, (before, after) in enumerate(pairwise(widths)):
        tensors[f"{layer}.weight"] = uniform((after, before), before, generator)
        tensors[f"{layer}.bias"] = uniform((after,), before, generator)
        if layer not in LINEAR:
            tensors |= new_norm(after, f"{layer}.norm")
    return tensors


def rebuild(rows: torch.Tensor, tensors: Tensors, training: bool = False) -> torch.Tensor:
    """(N, C) -> (N, C): what the autoencoder makes of each vector."""
    for layer in range(LINEAR[-1] + 1):
        rows = F.linear(rows, tensors[f"{layer}.weight"], tensors[f"{layer}.bias"])
        if layer not in LINEAR:
            rows = batch_norm(rows, tensors, f"{layer}.norm", training).relu()
    return rows


def error(rows: torch.Tensor, tensors: Tensors, training: bool = False) -> torch.Tensor:
    """(N, C) -> (N,): mean over channels of the squared difference to what is rebuilt."""
    return (rebuild(rows, tensors, training) - rows).square().mean(dim=-1)


def make_optimiser(tensors: Tensors) -> torch.optim.Optimizer:
    """Adam on all but the biases before batch norms.

    These have no true gradient: Adam would turn its rounding into full steps.
    """
    learned = learnable(tensors)
    still = [f"{layer}.bias" for layer in range(LINEAR[-1])]
    return torch.optim.Adam([x for k, x in learned.items() if k not in still], lr=LEARNING_RATE)


def step(rows: torch.Tensor, tensors: Tensors, optimiser: torch.optim.Optimizer) -> torch.Tensor:
    """One step on (N, C) vectors; returns the loss before it."""
    loss = error(rows, tensors, training=True).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.detach()
