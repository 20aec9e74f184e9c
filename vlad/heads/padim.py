"""A Gaussian at each place: PaDiM (Defard et al., ICPR 2021 workshops, arXiv 2011.08785)."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch

from vlad.errors import HeadError
from vlad.heads.head import Layered
from vlad.heads.moments import MomentGather, known, merged
from vlad.heads.rules import LAYERS, optional, whole
from vlad.heads.shifts import channels_of, largest_shifts
from vlad.maths.maps import upsample
from vlad.maths.parts import parts_of, worst_cells
from vlad.maths.whitening import symmetric_root
from vlad.types import Features, Parts, Reason, Scores, TextFeatures

RIDGE = 0.01  # added to every variance
SIGMA = 4.0  # of the Gaussian that smooths the map, in pixels
END = 4.0  # of the scale of maps, in roots of the number of channels
NAME = "places"


class PaDiM(Layered):
    """Mahalanobis distance of each patch from the patches at its place in normal images.

    The patch tokens of the layers are joined, and some of their channels drawn once at random. The
    image score is the maximum of the smoothed map. Images must show the object at one place and in
    one direction.

    Args:
        layers: blocks whose patch tokens are joined: block numbers, fractions of the depth, or
            lists of them; None takes those that the backbone names for this, else one quarter, half
            and three quarters of the depth.
        channels: how many channels are kept; all if there are no more.
        seed: of the draw.
    """

    normals = "needed"
    least_normals = 2
    additive = True
    rules: ClassVar = {
        "layers": optional(LAYERS),
        "channels": whole(1, 100_000),
        "seed": whole(0, 2**32 - 1),
    }

    def __init__(self, layers: Parts | None = None, channels: int = 100, seed: int = 1024):
        self.layers = layers
        self.channels = channels
        self.seed = seed
        self.gaussians_: tuple[object, tuple[torch.Tensor, torch.Tensor] | None] = (None, None)

    @property
    def map_range(self) -> tuple[float, float]:
        """From 0 to 4 roots of the number of channels, where a normal patch has about one."""
        return (0.0, END * math.sqrt(self._gaussians()[0].shape[-1]))

    def gather(self) -> MomentGather:
        """A collector of normal images."""
        return MomentGather(self, lambda features: {NAME: self._drawn(features)})

    def merge(
        self, first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The moments of the images of both."""
        return merged(first, second)

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images.

        Raises:
            HeadError: the head is not fitted, on images that tell no spread (fewer than two, or all
                alike), or on another grid of patches.
        """
        distance, _, _ = self._compare(features)
        maps = _mapped(distance, features)
        return Scores(maps.flatten(1).amax(dim=1), maps)

    def contributions(self, features: Features, text: TextFeatures | None) -> torch.Tensor:
        """(h·w,) what each patch adds to the largest value of the smoothed map."""
        distance, _, _ = self._compare(features)
        return parts_of(lambda x: _mapped(x, features).flatten(1).amax(dim=1), distance)[0]

    def without(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> torch.Tensor:
        """Scores with the tokens of each region at the means of their places."""
        distance, _, _ = self._compare(features)
        return _mapped(torch.where(regions, 0.0, distance), features).flatten(1).amax(dim=1)

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The channels of a region's worst patch that are most standard deviations away.

        Over all channels drawn, their squares add up to the square of the patch's distance.
        """
        distance, centred, inverse = self._compare(features)
        worst = worst_cells(distance[0], regions)
        moved = centred[worst, 0][:, None]  # (R, 1, C)
        sigmas = (moved @ symmetric_root(inverse[worst]))[:, 0]
        every = [
            name for layer, x in features.patches.items() for name in channels_of(layer, x.shape[2])
        ]
        return [*largest_shifts([every[i] for i in self._channels(len(every))], sigmas)]

    def _compare(self, features: Features) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, h·w) distances, (h·w, B, C) deviations, (h·w, C, C) inverse covariances."""
        mean, inverse = self._gaussians()
        rows = self._drawn(features)
        if rows.shape[1:] != mean.shape:
            raise HeadError(
                f"Head {self.name} learned {len(mean)} places of {mean.shape[-1]} channels, but "
                f"the image has {rows.shape[1]} of {rows.shape[2]}; fit it again at this size."
            )
        centred = (rows - mean).transpose(0, 1)  # (places, B, C)
        along = centred @ inverse
        return (along * centred).sum(dim=-1).clamp_min(0).sqrt().T, centred, inverse

    def _drawn(self, features: Features) -> torch.Tensor:
        """(B, h·w, C) drawn channels of the joined tokens."""
        joined = torch.cat(list(features.patches.values()), dim=-1)
        kept = self._channels(joined.shape[-1])
        if len(kept) == joined.shape[-1]:
            return joined
        return joined[..., torch.tensor(kept).to(joined.device, non_blocking=True)]

    def _channels(self, width: int) -> Sequence[int]:
        """The joined channels that are kept."""
        if width <= self.channels:
            return range(width)
        return random.Random(self.seed).sample(range(width), self.channels)

    def _gaussians(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(places, C) means and (places, C, C) inverse covariances, made once."""
        memory, found = self.gaussians_
        if found is None or memory is not self.memory_:
            moments = known(self)[NAME]
            covariance = moments.covariance(freedom=1)
            covariance.diagonal(dim1=-2, dim2=-1).add_(RIDGE)
            found = moments.mean.float(), torch.linalg.inv(covariance).float()
            self.gaussians_ = self.memory_, found
        return found


def _mapped(distance: torch.Tensor, features: Features) -> torch.Tensor:
    """(B, h·w) distances -> (B, H, W) map."""
    return upsample(distance.unflatten(1, features.grid), features.size, sigma=SIGMA)
