"""OneNIP (Gao, ECCV 2024, arXiv 2406.10161)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.errors import HeadError
from vlad.heads.head import Layered
from vlad.heads.networks import check_rows, fit_network
from vlad.heads.onenip_steps import (
    DROPOUT,
    RATE,
    Losses,
    initial,
    make_optimiser,
    objective,
    step,
    total,
    with_defects,
)
from vlad.heads.rules import LAYERS, SHARE, optional, whole
from vlad.maths.maps import upsample
from vlad.maths.one_prompt import rebuilt, refined
from vlad.maths.parts import by_cell, parts_of
from vlad.system.torch_state import own_state
from vlad.types import Features, Parts, Scores, TextFeatures

BATCH = 8  # images in a step
SLOWER = 0.8  # share of the passes after which the learning rate falls to a tenth
POOL = 16  # pixels a side of the squares averaged for the image score
# what is kept beside the networks
PROMPT, SCALE, BALANCE = "prompt", "scale", "balance"


@dataclass(eq=False, repr=False)
class OneNIP(Layered):
    """A transformer rebuilds the tokens of an image beside those of one normal image, the prompt.

    It is fitted to rebuild normal images with and without drawn defects as they were; a refiner is
    fitted to tell from the difference where the defects are. The map is the mean of the size of the
    difference and of what the refiner finds; the image score is the largest mean of 16×16 pixels.

    Args:
        layers: blocks whose patch tokens are joined: block numbers, fractions of the depth, or
            lists of them whose tokens are averaged first; None takes those that the backbone names
            for comparisons, else one, two and three quarters of the depth.
        steps: of the optimiser, rounded up to whole passes over the normal images.
        hold_out: share of the normal images, if there are at least 10, whose loss says when to
            stop; 0 takes all steps.
        seed: seed of the first weights, the prompts, the drawn defects, the noise and the order.
    """

    normals = "needed"
    rules: ClassVar = {
        "layers": optional(LAYERS),
        "steps": whole(1, 10**6),
        "hold_out": SHARE,
        "seed": whole(0, 2**32 - 1),
    }

    layers: Parts | None = None
    steps: int = 200
    hold_out: float = 0.2
    seed: int = 0

    @property
    def map_range(self) -> tuple[float, float]:
        """From 0 to twice what both parts of the map weigh equally, in three digits.

        Raises:
            HeadError: the head is not fitted.
        """
        return 0.0, float(f"{2 * self.needed_memory()[BALANCE].item():.3g}")

    @own_state()
    def fit(self, features: Features) -> OneNIP:
        """Fit transformer and refiner on normal images.

        Raises:
            HeadError: features with NaN or infinity, or the same everywhere.
        """
        rows, grid = joined(features), features.grid
        check_rows(self.name, rows)
        # so that the parts of the loss weigh alike on every backbone
        scale = rows.square().mean().rsqrt()
        rows = rows * scale
        generator = torch.Generator().manual_seed(self.seed)
        tensors = {k: x.to(rows) for k, x in initial(rows.shape[-1], grid, generator).items()}
        optimiser = make_optimiser(tensors)
        per_epoch = math.ceil(len(rows) / BATCH)
        epochs = math.ceil(self.steps / per_epoch)
        taken = 0

        def losses(batch: torch.Tensor, draw: torch.Generator, training: bool) -> Losses:
            clean = batch.unflatten(0, (-1, rows.shape[1]))
            drawn, masks = with_defects(clean, grid, draw)
            prompts = rows[torch.randint(len(rows), (len(clean),), generator=draw)]
            noise, drop = torch.zeros(()).to(rows), unchanged
            if training:
                noise = torch.randn(3 * len(clean), *clean.shape[1:], generator=draw).to(rows)
                drop = partial(dropped, generator=draw)
            masks = F.interpolate(masks[:, None], features.size)[:, 0]
            return objective(clean, drawn, prompts, masks, noise, tensors, grid, drop, training)

        def one_step(batch: torch.Tensor) -> None:
            nonlocal taken
            taken += 1
            slow = taken > SLOWER * epochs * per_epoch
            optimiser.param_groups[0]["lr"] = RATE / 10 if slow else RATE
            step(optimiser, *losses(batch, generator, training=True))

        def held_out_loss(batch: torch.Tensor) -> torch.Tensor:
            draw = torch.Generator().manual_seed(self.seed)  # the same defects every time
            return total(*losses(batch, draw, training=False))

        fitted = fit_network(
            self.name,
            rows,
            tensors,
            one_step,
            held_out_loss,
            epochs=epochs,
            batch=BATCH,
            hold_out=self.hold_out,
            generator=generator,
        )
        prompt = rows[int(torch.randint(len(rows), (), generator=generator))]
        self.memory_ = {**fitted, PROMPT: prompt, SCALE: scale[None]}
        ranges = [
            upsample(self._compare(part, grid)[0], features.size, align_corners=True).aminmax()
            for images in rows.split(BATCH)
            for part in (images, with_defects(images, grid, generator)[0])
        ]
        lowest, highest = min(x for x, _ in ranges), max(x for _, x in ranges)
        self.memory_ = {**self.memory_, BALANCE: (lowest + highest)[None] / 2}
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, from 0.

        Raises:
            HeadError: the head is not fitted, or was fitted on another grid of patches.
        """
        maps = self._maps(features)
        return Scores(_largest_square(maps), maps)

    def contributions(self, features: Features, text: TextFeatures | None) -> torch.Tensor:
        """(h·w,) the pixels of the square with the largest mean, added up for each patch."""
        return by_cell(parts_of(_largest_square, self._maps(features)), features.grid)[0]

    def _maps(self, features: Features) -> torch.Tensor:
        """(B, H, W) maps.

        Raises:
            HeadError: the head is not fitted, or was fitted on another grid of patches.
        """
        memory = self.needed_memory()
        rows, grid = joined(features) * memory[SCALE], features.grid
        fitted = (len(memory["row"]), len(memory["column"]))
        if grid != fitted or rows.shape[-1] != memory[PROMPT].shape[-1]:
            raise HeadError(
                f"Head {self.name} learned {fitted[0]}×{fitted[1]} places of "
                f"{memory[PROMPT].shape[-1]} channels, but the image has {grid[0]}×{grid[1]} of "
                f"{rows.shape[-1]}; fit it again at this size."
            )
        far, found = self._compare(rows, grid)
        found = F.interpolate(found, features.size, mode="bilinear", align_corners=True)
        whole = upsample(far, features.size, align_corners=True)
        return (whole + memory[BALANCE] * found[:, 0].sigmoid()) / 2

    @torch.no_grad()
    def _compare(
        self, rows: torch.Tensor, grid: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, h, w) sizes of the differences to the rebuilt tokens, (B, 1, 4h, 4w) logits."""
        tensors = self.memory_
        difference = rebuilt(rows, tensors[PROMPT].expand_as(rows), tensors, grid) - rows
        return difference.norm(dim=-1).unflatten(1, grid), refined(difference.abs(), tensors, grid)


def _largest_square(maps: torch.Tensor) -> torch.Tensor:
    """(B, H, W) -> (B,): the largest mean of a square of pixels."""
    sides = [min(POOL, side) for side in maps.shape[1:]]
    return F.avg_pool2d(maps[:, None], sides, stride=1).flatten(1).amax(dim=1)


def joined(features: Features) -> torch.Tensor:
    """(B, N, C) tokens of all layers."""
    return torch.cat(list(features.patches.values()), dim=-1)


def unchanged(x: torch.Tensor) -> torch.Tensor:
    """The same, in evaluation."""
    return x


def dropped(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A tenth of the values set to 0, the others enlarged to make up for them."""
    kept = torch.rand(x.shape, generator=generator).to(x.device) >= DROPOUT
    return x * kept / (1 - DROPOUT)
