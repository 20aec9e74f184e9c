"""The tokens that INP-Former rebuilds, and the fit on those of normal images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from vlad.heads.inp_steps import initial, make_optimiser, objective, step, total
from vlad.heads.networks import Tensors, check_rows, fit_network
from vlad.maths.prototypes import halves
from vlad.maths.stable_adamw import warm_cosine
from vlad.system.torch_state import own_state
from vlad.types import Features

if TYPE_CHECKING:
    from vlad.heads.inp_former import INPFormer

HIGHEST, LOWEST, WARM = 1e-3, 1e-4, 100  # learning rates, and steps up to the first


class Projected:
    """The collector of the normal images of an `INPFormer`."""

    def __init__(self, head: INPFormer):
        self.head = head
        self.generator = torch.Generator().manual_seed(head.seed)
        self.projections: Tensors = {}
        self.layers = 0
        self.parts: list[torch.Tensor] = []

    @own_state()
    def add(self, features: Features) -> None:
        """Keep the mean tokens of each group of layers."""
        width = self.head.width or next(iter(features.patches.values())).shape[-1]
        for x in features.patches.values():
            name = f"projection.{x.shape[-1]}"
            if x.shape[-1] != width and name not in self.projections:
                self.projections[name] = projection(x.shape[-1], width, self.generator).to(x)
        self.layers = len(features.patches)
        groups, _ = joined(features, self.projections)
        self.parts.append(groups.transpose(1, 2).flatten(2))

    @own_state()
    def finish(self) -> None:
        """Fit extractor, bottleneck and decoder.

        Raises:
            HeadError: features with NaN or infinity, or the same everywhere.
        """
        head, rows = self.head, torch.cat(self.parts)
        check_rows(head.name, rows)
        places, count = rows.shape[1], len(halves([0] * self.layers, 2))
        width = rows.shape[-1] // count
        tensors = initial(width, head.prototypes, head.blocks, self.generator)
        tensors = {name: x.to(rows) for name, x in tensors.items()}
        optimiser = make_optimiser(tensors)
        per_epoch = max(1, len(rows) // head.batch)
        epochs = math.ceil(head.steps / per_epoch)
        steps = epochs * per_epoch
        warm = min(WARM, steps // 10)

        def parts(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            groups = batch.unflatten(0, (-1, places)).unflatten(-1, (count, width)).transpose(1, 2)
            return groups, mean_of(groups, self.layers)

        fitted = fit_network(
            head.name,
            rows,
            tensors,
            lambda batch: step(
                *parts(batch),
                tensors,
                optimiser,
                warm_cosine(optimiser.steps, steps, warm, HIGHEST, LOWEST),
            ),
            lambda batch: total(*objective(*parts(batch), tensors)),
            epochs=epochs,
            batch=head.batch,
            hold_out=0,
            generator=self.generator,
            full=True,
        )
        head.memory_ = {**fitted, **self.projections}


def joined(
    features: Features, tensors: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, G, N, D) mean tokens of each group of layers, and (B, N, D) those of all layers."""
    each = []
    for x in features.patches.values():
        name = f"projection.{x.shape[-1]}"
        each.append(x @ tensors[name] if name in tensors else x)
    groups = torch.stack([torch.stack(part).mean(dim=0) for part in halves(each, 2)], dim=1)
    return groups, mean_of(groups, len(each))


def mean_of(groups: torch.Tensor, layers: int) -> torch.Tensor:
    """(B, G, N, D) mean tokens of each group -> (B, N, D) those of all layers."""
    counts = [len(part) for part in halves([0] * layers, 2)]
    shares = torch.tensor(counts).to(groups, non_blocking=True) / layers
    return (groups * shares[:, None, None]).sum(dim=1)


def projection(before: int, after: int, generator: torch.Generator) -> torch.Tensor:
    """(C, D) random matrix, orthonormal in its shorter direction."""
    drawn = torch.randn(max(before, after), min(before, after), generator=generator)
    found = torch.linalg.qr(drawn).Q
    return found if before >= after else found.T
