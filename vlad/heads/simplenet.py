"""SimpleNet (Liu et al., CVPR 2023, arXiv 2303.15140)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from vlad.heads.rules import LAYERS, SHARE, number, optional, whole
from vlad.maths.maps import upsample
from vlad.maths.parts import parts_of
from vlad.system.torch_state import own_state
from vlad.types import Features, Parts, Scores, TextFeatures

POOLED = 1536  # numbers that a 3×3 neighbourhood of a layer is pooled to
HIDDEN = 1024  # units of the discriminator
MARGIN = 0.5
SLOPE = 0.2  # of the leaky ReLU
BATCH = 8  # images in a step
SIGMA = 4.0  # of the Gaussian that smooths the map, in pixels
# optimisers: learning rate and weight decay
ADAPTER, DISCRIMINATOR = (1e-4, 1e-2), (2e-4, 1e-5)
RANGE = (-5.0, 10.0)  # scale of the maps
ADAPTED = ("adapter.weight", "adapter.bias")
# in front of a batch norm: without a true gradient, rounding would make full steps of Adam
STILL = ("adapter.bias", "hidden.bias")


@dataclass(eq=False, repr=False)
class SimpleNet(Layered):
    """A small network learns to tell the patches of normal images from the same ones with noise.

    A linear adapter maps the vector of a patch and its eight neighbours; a discriminator of two
    layers is fitted to give adapted vectors more than ½ and the same plus Gaussian noise less than
    −½. The score of a patch is its output with the sign changed, that of an image the largest.

    Args:
        layers: blocks whose patch tokens are joined: block numbers, fractions of the depth, or
            lists of them whose tokens are averaged first; None takes those that the backbone names
            for comparisons, else one, two and three quarters of the depth.
        width: numbers that describe a patch, pooled from all layers; None is the number of channels
            of the first layer.
        noise: standard deviation of the noise added to each of them.
        epochs: most passes over the normal images.
        hold_out: share of the normal images, if there are at least 10, whose loss says when to
            stop; 0 runs all epochs.
        seed: seed of the first weights, the noise, the order and what is held out.
    """

    normals = "needed"
    map_range = RANGE
    rules: ClassVar = {
        "layers": optional(LAYERS),
        "width": optional(whole(1, 2**14)),
        "noise": number(1e-9, 1e9, "a number from 1e-9 to 1e9"),
        "epochs": whole(1, 10**6),
        "hold_out": SHARE,
        "seed": whole(0, 2**32 - 1),
    }

    layers: Parts | None = None
    width: int | None = None
    noise: float = 0.015
    epochs: int = 160
    hold_out: float = 0.2
    seed: int = 0

    @own_state()
    def fit(self, features: Features) -> SimpleNet:
        """Fit adapter and discriminator on normal images.

        Raises:
            HeadError: features with NaN or infinity, or the same everywhere.
        """
        patches = list(features.patches.values())
        width = self.width or patches[0].shape[-1]
        rows = embed(patches, features.grid, width)
        check_rows(self.name, rows)
        generator = torch.Generator().manual_seed(self.seed)
        tensors = {k: x.to(rows) for k, x in initial(width, HIDDEN, generator).items()}
        optimisers = make_optimisers(tensors)

        def noise(batch: torch.Tensor) -> torch.Tensor:
            return self.noise * torch.randn(batch.shape, generator=generator).to(batch)

        self.memory_ = fit_network(
            self.name,
            rows,
            tensors,
            lambda batch: step(batch, noise(batch), tensors, optimisers),
            lambda batch: hinge(batch, noise(batch), tensors),
            epochs=self.epochs,
            batch=BATCH,
            hold_out=self.hold_out,
            generator=generator,
        )
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, without bounds; maps are not below −5.

        Raises:
            HeadError: the head is not fitted.
        """
        found = self._judged(features)
        maps = upsample(found.unflatten(1, features.grid), features.size, sigma=SIGMA)
        return Scores(image_score=found.amax(dim=1), anomaly_map=maps.clamp(min=RANGE[0]))

    def contributions(self, features: Features, text: TextFeatures | None) -> torch.Tensor:
        """(h·w,) the whole score at the worst patch."""
        return parts_of(lambda x: x.amax(dim=1), self._judged(features))[0]

    def _judged(self, features: Features) -> torch.Tensor:
        """(B, h·w) what the discriminator says of each patch, higher for anomalous ones."""
        tensors = dict(self.needed_memory())
        width = len(tensors["adapter.bias"])
        rows = embed(list(features.patches.values()), features.grid, width)
        return -judge(adapt(rows.flatten(0, 1), tensors), tensors).view(rows.shape[:2])


def embed(
    layers: Sequence[torch.Tensor], grid: tuple[int, int], width: int, pooled: int | None = None
) -> torch.Tensor:
    """(B, h·w, C) tokens of each layer -> (B, h·w, width): 3×3 neighbourhoods, joined by pooling.

    Beyond the border are zeros. Pooling averages neighbouring channels, as PatchCore does.
    """
    parts = []
    for tokens in layers:
        image = tokens.transpose(1, 2).unflatten(2, grid)
        near = F.unfold(image, 3, padding=1).transpose(1, 2)  # the nine values of each channel
        parts.append(F.adaptive_avg_pool1d(near, pooled or POOLED))
    return F.adaptive_avg_pool1d(torch.cat(parts, dim=-1), width)


def initial(width: int, hidden: int, generator: torch.Generator) -> Tensors:
    """The tensors before the first step: weights by Xavier's normal rule, biases as torch's."""

    def xavier(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator) * (2 / (rows + columns)) ** 0.5

    return {
        "adapter.weight": xavier(width, width),
        "adapter.bias": uniform((width,), width, generator),
        "hidden.weight": xavier(hidden, width),
        "hidden.bias": uniform((hidden,), width, generator),
        **new_norm(hidden, "norm"),
        "last.weight": xavier(1, hidden),
    }


def adapt(rows: torch.Tensor, tensors: Tensors) -> torch.Tensor:
    """(N, D) -> (N, D)."""
    return F.linear(rows, *(tensors[name] for name in ADAPTED))


def judge(adapted: torch.Tensor, tensors: Tensors, training: bool = False) -> torch.Tensor:
    """(N, D) adapted vectors -> (N,) output of the discriminator, higher for normal ones."""
    hidden = F.linear(adapted, tensors["hidden.weight"], tensors["hidden.bias"])
    hidden = F.leaky_relu(batch_norm(hidden, tensors, "norm", training), SLOPE)
    return F.linear(hidden, tensors["last.weight"])[:, 0]


def hinge(
    rows: torch.Tensor, noise: torch.Tensor, tensors: Tensors, training: bool = False
) -> torch.Tensor:
    """The loss: how far both kinds of vectors are from ½ and −½, in one pass for the batch norm."""
    adapted = adapt(rows, tensors)
    normal, noisy = judge(torch.cat([adapted, adapted + noise]), tensors, training).chunk(2)
    return (MARGIN - normal).clamp(min=0).mean() + (MARGIN + noisy).clamp(min=0).mean()


def make_optimisers(tensors: Tensors) -> list[torch.optim.Optimizer]:
    """Decoupled weight decay for the adapter; for the discriminator it is part of the gradient."""
    learned = learnable(tensors)
    adapter = [learned.pop(name) for name in ADAPTED]
    lr, decay = ADAPTER
    first = torch.optim.AdamW(adapter, lr=lr, weight_decay=decay)
    lr, decay = DISCRIMINATOR
    return [first, torch.optim.Adam(learned.values(), lr=lr, weight_decay=decay)]


def step(
    rows: torch.Tensor,
    noise: torch.Tensor,
    tensors: Tensors,
    optimisers: Sequence[torch.optim.Optimizer],
) -> torch.Tensor:
    """One step on (N, D) vectors and their noise; returns the loss before it."""
    loss = hinge(rows, noise, tensors, training=True)
    for optimiser in optimisers:
        optimiser.zero_grad()
    loss.backward()
    for name in STILL:
        gradient = tensors[name].grad
        assert gradient is not None
        gradient.zero_()
    for optimiser in optimisers:
        optimiser.step()
    return loss.detach()
