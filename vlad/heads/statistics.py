"""A null baseline: how far colour, edges and texture are from those of normal images.

vlad's own; it reads no backbone, so any other head has to beat it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F

from vlad.heads.head import Head
from vlad.heads.shifts import largest_shifts
from vlad.images.statistics import NAMES, summary
from vlad.maths.maps import top_mean, upsample
from vlad.maths.parts import worst_cells
from vlad.types import (
    BackboneInfo,
    Features,
    FeatureShift,
    FeatureSpec,
    Reason,
    Scores,
    TextFeatures,
)

SHRINK = 0.5  # weight of the mean variance of all cells against that of one cell
PRIOR = 4  # normal images that the prior of the whole image's variances counts for
FLOOR = 1e-6  # smallest variance, of values around 1
TOP = 0.01  # fraction of the cells whose mean distance enters the image score
SIGMA = 4.0  # of the Gaussian that smooths the map, in pixels
HIGHEST = 10.0  # end of the scale of maps, in standard deviations


class Statistics(Head):
    """Null baseline: colour, edges and texture of the pixels, compared with normal images.

    A cell and the whole image are as anomalous as their statistics (`vlad.images.statistics`) are
    standard deviations from their means over normal images (root mean square over the statistics).
    The image score is the mean of the top 1 % of the cells plus the distance of the whole image.

    Variances are shrunk, because few normal images estimate them badly: that of a cell is taken
    over it and the eight around it and averaged with the mean over all cells; that of the whole
    image begins at that mean. So one normal image is enough.
    """

    normals = "needed"

    @property
    def map_range(self) -> tuple[float, float]:
        """0 to 10 standard deviations."""
        return 0.0, HIGHEST

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Statistics of the pixels; nothing of the backbone."""
        return FeatureSpec(statistics=True)

    def fit(self, features: Features) -> Statistics:
        """Learn means and variances from the statistics of normal images."""
        x, whole = _read(features)
        mean, whole_mean = x.mean(dim=0), whole.mean(dim=0)
        around = F.pad(x.movedim(-1, 1), (1, 1, 1, 1), mode="replicate")
        around = around.unfold(2, 3, 1).unfold(3, 3, 1).movedim(1, 3)  # (N, h, w, 12, 3, 3)
        here = (around - mean[..., None, None]).square().mean(dim=(0, 4, 5))
        prior = here.mean(dim=(0, 1))
        squares = (whole - whole_mean).square().sum(dim=0)
        begun = PRIOR * prior.repeat(len(whole_mean) // len(prior))
        self.memory_ = {
            "mean": mean,
            "variance": (1 - SHRINK) * here + SHRINK * prior + FLOOR,
            "whole_mean": whole_mean,
            "whole_variance": (squares + begun) / (len(x) - 1 + PRIOR) + FLOOR,
        }
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, in standard deviations.

        Raises:
            HeadError: the head is not fitted.
        """
        memory = self.needed_memory()
        score, distance = _compare(*_read(features), memory)
        return Scores(score, upsample(distance, features.size, sigma=SIGMA))

    def without(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> torch.Tensor:
        """Scores with the statistics of each region at the means of its cells."""
        memory = self.needed_memory()
        x, _ = _read(features)
        normal = regions.unflatten(1, features.grid)[..., None]
        changed = torch.where(normal, memory["mean"], x)
        whole = np.stack([summary(one) for one in changed.cpu().numpy()])
        return _compare(changed, torch.from_numpy(whole).to(x), memory)[0]

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The statistics of a region's worst cell that are most standard deviations away.

        The mean of the squares of all 12 is the square of the cell's distance. The image score
        also has the distance of the whole image, which is nowhere, so it is no sum over cells.
        """
        memory = self.needed_memory()
        x, _ = _read(features)
        distance = _distance(x, memory["mean"], memory["variance"]).flatten(1)
        sigmas = ((x - memory["mean"]) / memory["variance"].sqrt()).flatten(1, 2)[0]
        shifts = largest_shifts(
            [more for more, _ in NAMES], sigmas[worst_cells(distance[0], regions)]
        )
        return [tuple(map(_named, found)) for found in shifts]


def _compare(
    x: torch.Tensor, whole: torch.Tensor, memory: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,) scores and (B, h, w) distances of cells."""
    distance = _distance(x, memory["mean"], memory["variance"])
    of_all = _distance(whole, memory["whole_mean"], memory["whole_variance"])
    return top_mean(distance.flatten(1), TOP) + of_all, distance


def _named(shift: FeatureShift) -> FeatureShift:
    """Less yellow is more blue."""
    less = dict(NAMES)[shift.feature]
    return FeatureShift(less, -shift.sigmas) if less and shift.sigmas < 0 else shift


def _read(features: Features) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, h, w, 12) statistics of the cells and (B, 60) of the whole images."""
    assert features.image is not None  # the extractor gives both
    return features.patches[1].unflatten(1, features.grid), features.image


def _distance(x: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """(..., F) -> (...): root mean square of the distances in standard deviations."""
    return ((x - mean).square() / variance).mean(dim=-1).sqrt()
