"""A Gaussian of whole images: Gaussian-AD (Rippel et al., ICPR 2020, arXiv 2005.14140)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from vlad.heads.head import Head
from vlad.heads.moments import MomentGather, check, known, merged
from vlad.heads.rules import LAYERS, PART, one_of, optional
from vlad.heads.shifts import channels_of, largest_shifts
from vlad.maths.maps import upsample
from vlad.maths.moments import Moments
from vlad.maths.whitening import symmetric_root
from vlad.types import BackboneInfo, Features, FeatureSpec, Parts, Reason, Scores, TextFeatures

SIGMA = 4.0  # of the Gaussian that smooths the map, in pixels
END = 10.0  # of the scale of maps, in roots of the number of channels


@dataclass(eq=False, repr=False)
class MVG(Head):
    """Mahalanobis distance of the mean patch token of each block from that of normal images.

    The covariance is shrunk after Ledoit and Wolf, so that it can have more channels than there
    are images. The image score is the mean over blocks of the distance.

    The method has no map. This one is ours: the squared distance of a mean is the mean over patches
    of (patch − μ)ᵀ Σ⁻¹ (mean − μ); the map shows these parts over the distance, so that without
    smoothing their mean is the distance, but for parts that speak for normal images, shown as 0.

    Args:
        layers: blocks whose patch tokens are averaged: block numbers, fractions of the depth, or
            lists of them; None takes those that the backbone names for this, else one third, two
            thirds and all of the depth.
        components: "largest" keeps those principal components that hold the share `variance` of
            the variance, "smallest" the last two of these and all others; None keeps all channels.
        variance: that share.
    """

    normals = "needed"
    least_normals = 2
    rules: ClassVar = {
        "layers": optional(LAYERS),
        "components": optional(one_of("largest", "smallest")),
        "variance": PART,
    }

    layers: Parts | None = None
    components: Literal["largest", "smallest"] | None = None
    variance: float = 0.95

    def __post_init__(self) -> None:
        self.gaussians_: tuple[object, dict[str, tuple[torch.Tensor, torch.Tensor]]] = (None, {})

    @property
    def additive(self) -> bool:  # type: ignore[override]
        """True unless it keeps some components, which depend on all images."""
        return self.components is None

    @property
    def map_range(self) -> tuple[float, float]:
        """From 0 to 10 roots of the number of channels, where normal images have about one."""
        each = [math.sqrt(len(mean)) for mean, _ in self._gaussians().values()]
        return (0.0, END * sum(each) / len(each))

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Raw patch tokens of its layers."""
        layers = backbone.layers(self.layers or backbone.compare or (1 / 3, 2 / 3, 1.0))
        return FeatureSpec(layers=layers, image=False)

    def gather(self) -> MomentGather | None:
        """A collector of normal images; with components, `fit` sees all of them at once."""
        return MomentGather(self, means) if self.components is None else None

    def fit(self, features: Features) -> MVG:
        """Learn from normal images.

        Raises:
            HeadError: with components, images that tell no spread; else `score` says so, since
                more may be added.
        """
        if self.components is None:
            return super().fit(features)
        rows = means(features)
        check(self, {name: Moments.of(x) for name, x in rows.items()})
        self.memory_ = {}
        for name, x in rows.items():
            mean, precision = self._projected(x.double())
            self.memory_ |= {f"{name}.mean": mean, f"{name}.precision": precision}
        return self

    def merge(
        self, first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The moments of the images of both."""
        return merged(first, second)

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images.

        Raises:
            HeadError: the head is not fitted, or on images that tell no spread: fewer than two, or
                all alike.
        """
        distance, parts = self._parts(features)
        grid_map = parts.clamp_min(0).unflatten(1, features.grid)
        return Scores(distance, upsample(grid_map, features.size, sigma=SIGMA))

    def contributions(self, features: Features, text: TextFeatures | None) -> torch.Tensor:
        """(h·w,) what each patch adds to the distance; below 0 where it speaks for normal."""
        _, parts = self._parts(features)
        return parts[0] / parts.shape[1]

    def without(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> torch.Tensor:
        """Scores with the tokens of each region at the mean of normal images."""
        patches = {}
        for layer, x in features.patches.items():
            mean, _ = self._gaussians()[str(layer)]
            patches[layer] = torch.where(regions[..., None], mean, x)
        return self._parts(replace(features, patches=patches))[0]

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The channels that a region moves most standard deviations away.

        That is the region's part of the deviation of the image's mean token, so that those of
        regions that make up an image add up, and their squares over channels to the square of a
        block's distance.
        """
        names, sigmas = [], []
        for layer, patches in features.patches.items():
            mean, precision = self._gaussians()[str(layer)]
            moved = regions.to(patches) @ (patches[0] - mean) / patches.shape[1]
            sigmas.append(moved @ symmetric_root(precision))
            names += channels_of(layer, len(mean))
        return [*largest_shifts(names, torch.cat(sigmas, dim=1), part=True)]

    def _parts(self, features: Features) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) distances and (B, h·w) parts whose mean over patches these are."""
        gaussians = self._gaussians()
        distances, parts = [], []
        for name, patches in features.patches.items():
            mean, precision = gaussians[str(name)]
            centred = patches - mean
            along = centred.mean(dim=1) @ precision
            distance = (along * centred.mean(dim=1)).sum(dim=-1).clamp_min(0).sqrt()
            distances.append(distance)
            part = (centred @ along[..., None])[..., 0]
            parts.append(part / distance.clamp_min(1e-12)[:, None])
        return torch.stack(distances).mean(dim=0), torch.stack(parts).mean(dim=0)

    def _projected(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and precision of (N, C) rows on some of their principal components."""
        mean = rows.mean(dim=0)
        _, sizes, axes = torch.linalg.svd(rows - mean, full_matrices=False)
        share = sizes.square().cumsum(dim=0) / sizes.square().sum()
        last = min(int((share <= self.variance).sum()), len(share) - 1)
        axes = axes[: last + 1] if self.components == "largest" else axes[max(0, last - 1) :]
        inverse = torch.linalg.inv(Moments.of((rows - mean) @ axes.T).ledoit_wolf())
        return mean.float(), (axes.T @ inverse @ axes).float()

    def _gaussians(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Layer -> mean (C,) and inverse covariance (C, C), inverted once."""
        memory, found = self.gaussians_
        if memory is not self.memory_:
            if self.components is None:
                found = {
                    name: (x.mean.float(), torch.linalg.inv(x.ledoit_wolf()).float())
                    for name, x in known(self).items()
                }
            else:
                kept = self.needed_memory()
                names = [key.removesuffix(".mean") for key in kept if key.endswith(".mean")]
                found = {name: (kept[f"{name}.mean"], kept[f"{name}.precision"]) for name in names}
            self.gaussians_ = self.memory_, found
        return found


def means(features: Features) -> dict[str, torch.Tensor]:
    """Layer -> (B, C) mean patch tokens."""
    return {str(name): x.mean(dim=1) for name, x in features.patches.items()}
