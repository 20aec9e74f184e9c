"""MuSc, mutual scoring of the unlabelled images (Li et al., ICLR 2024, arXiv 2401.16753).

With `v2`, the 2-D part of MuSc-V2 (Li et al., TPAMI 2026, arXiv 2511.10047).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from vlad.errors import HeadError
from vlad.heads.head import Head
from vlad.heads.musc_pool import MuScPool, salient_layer
from vlad.heads.rules import FLAG, LAYERS, ODD, Rule, list_of, number, optional, whole
from vlad.maths.maps import upsample
from vlad.maths.mutual import mean_distance, similarity_to
from vlad.maths.neighbourhoods import lifted, lnamd, snamd
from vlad.maths.parts import worst_cells
from vlad.maths.precision import as_bfloat16
from vlad.maths.rescore import rescore_against
from vlad.types import (
    BackboneInfo,
    Features,
    FeatureSpec,
    Layer,
    NearestPatch,
    Parts,
    Reason,
    Scores,
    TextFeatures,
)

BOUNDS = list_of(number(0, 1e9, ""), "")


def is_interval(value: Any) -> bool:
    """Return whether it is two numbers, fractions or counts, the second above the first."""
    if not BOUNDS.holds(value) or len(value) != 2:
        return False
    low, high = value
    # a count and a fraction can only be compared once the images are counted
    return high > 0 and (low < high or low < 1 <= high)


@dataclass(eq=False, repr=False)
class MuSc(Head):
    """Patches of normal images have near matches in many other images; anomalies do not.

    Patch tokens are averaged over r×r neighbourhoods (LNAMD, paper section 3.2), compared with
    those of every other image (MSM, section 3.3), and image scores are averaged with those of
    similar images (RsCIN, section 3.4). All images are scored jointly: results are
    **transductive**. After `fit`, new images are scored one by one against a reference pool.

    MuSc-V2 weighs neighbours by their distance and averages the sizes of neighbourhood before it
    compares (SNAMD), and takes the images whose most anomalous patches are alike for similar
    (RsCon), so it needs no image embedding.

    N images of P patches with C channels in L layers take 4·N·P·(L·C + C + N) bytes for tokens, the
    rows compared and their similarities. At most 2 GiB of this are in memory and the rest in
    temporary files, so the peak is about 3 GiB above the backbone's for any N. On a GPU a few
    images at a time are compared with all others, and similarities are not stored.

    If the backbone runs in bfloat16, images are compared in bfloat16. In half precision, maps move
    by less than 2e-2 of their range. Re-scored image scores can move by more: they are scaled to
    the range over the images, and one neighbour more or less makes a step.

    Args:
        layers: blocks whose patch tokens are compared, as for `memory`; None takes those that
            the backbone names for this, else the four quarters of the depth.
        r: odd sides of the neighbourhoods to average.
        interval: which distances to the other images count, sorted from the smallest: those between
            these two fractions of their number, or counts if 1 or more; (0, 1) is only the
            smallest. At least one always counts; the authors' code gives NaN for few images.
        rescore: neighbourhood sizes k of RsCIN or RsCon, including the image; () disables it, None
            takes the authors' 1, 2, 3 or, for MuSc-V2, 1, 7.
        v2: whether to follow MuSc-V2. Its layers are then thirds of the depth, each through the
            backbone's final LayerNorm, if neither `layers` nor the backbone names others.
    """

    map_range = (0.0, 2.0)
    rules: ClassVar = {
        "layers": optional(LAYERS),
        "r": list_of(ODD, "a list of odd numbers below 100"),
        "interval": Rule(is_interval, "two numbers, from and to, such as [0, 0.3]"),
        "rescore": optional(list_of(whole(1, 10**6), "a list of whole numbers, or empty", least=0)),
        "v2": FLAG,
    }

    layers: Parts | None = None
    r: tuple[int, ...] = (1, 3, 5)
    interval: tuple[float, float] = (0, 0.3)
    rescore: tuple[int, ...] | None = None
    v2: bool = False

    @property
    def transductive(self) -> bool:
        """True until the head has a reference pool: images are then scored jointly."""
        return not self.fitted

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Patch tokens of its layers; for MuSc, GELU and positional embedding of the authors."""
        if self.v2:
            layers = backbone.layers(self.layers or backbone.compare or (1 / 3, 2 / 3, 1.0))
            return FeatureSpec(layers=layers, patch_output="ln_post", image=False)
        return FeatureSpec(
            layers=backbone.layers(self.layers or backbone.compare or (0.25, 0.5, 0.75, 1.0)),
            activation="gelu",
            # their code for CLIP; their DINOv2 keeps its own
            pos_embed="bicubic" if backbone.has_text else None,
        )

    def fit(self, features: Features) -> MuSc:
        """Remember a reference pool of at least two images, normal or not.

        An image of the pool, scored again, matches itself at a distance of only rounding (up to
        1e-3, the root of float32's precision in 1 − cos).

        Raises:
            HeadError: fewer than two images, or an image with non-finite features.
        """
        pool = MuScPool(self)
        pool.add(features)
        grid_maps = pool.grid_maps()
        scores = torch.cat(list(pool.largest(grid_maps)))
        if not scores.isfinite().all():
            raise HeadError("Head musc: an image of the pool has non-finite features; remove it.")
        device = next(iter(features.patches.values())).device
        self.memory_ = {
            **{f"tokens.{n}": x for n, x in features.patches.items()},
            "image": pool.likeness(grid_maps).to(device),
            "distance": scores.to(device),
        }
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, each compared with the pool only.

        Raises:
            HeadError: the head is not fitted.
        """
        grid_map = self._to_pool(features).unflatten(1, features.grid)
        anomaly_map = upsample(grid_map, features.size, align_corners=True)
        score = anomaly_map.flatten(1).amax(dim=1)
        if self.neighbours:
            image = features.image
            if self.v2:
                image = self.salient(features.patches[salient_layer(features.patches)], grid_map)
            assert image is not None  # the spec asks for it
            known = self.memory_["distance"], self.memory_["image"]
            score = rescore_against(score, image, *known, self.neighbours)
        return Scores(score, anomaly_map)

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The patch of the pool that a region's worst patch is most like, over all comparisons.

        The head's distance is the mean over several images of the pool.
        """
        worst, each = worst_cells(self._to_pool(features)[0], regions), []
        for n, sides in self.comparisons(features.patches):
            rows = self.rows(features.patches[n], features.grid, sides)[0, worst]
            pool = self.rows(self.memory_[f"tokens.{n}"], features.grid, sides)
            # of one image, so that its patches are as far as the head says
            each.append(self.distance((rows @ pool.flatten(0, 1).T)[:, None]))
        found, size = torch.stack(each).mean(dim=0), features.grid[0] * features.grid[1]
        reasons: list[tuple[Reason, ...]] = []
        for at, row in zip(worst.tolist(), found, strict=True):
            image, place = divmod(int(row.argmin()), size)
            cell, patch = (divmod(one, features.grid[1]) for one in (place, at))
            reasons.append((NearestPatch(image, 0, cell, row.min().item(), None, patch),))
        return reasons

    def _to_pool(self, features: Features) -> torch.Tensor:
        """(B, h·w) distances to the pool.

        Raises:
            HeadError: the head is not fitted.
        """
        if "distance" not in self.memory_:
            raise HeadError(
                "Head musc compares images with each other: give a list, or fit a pool."
            )
        total = []
        for n, sides in self.comparisons(features.patches):
            rows = self.rows(features.patches[n], features.grid, sides)
            pool = self.rows(self.memory_[f"tokens.{n}"], features.grid, sides)
            if features.bfloat16:
                rows, pool = as_bfloat16(rows), as_bfloat16(pool)
            total.append(self.distance(similarity_to(rows, pool)))
        return torch.stack(total).mean(dim=0)

    @property
    def neighbours(self) -> Sequence[int]:
        """The sizes of neighbourhoods over which image scores are averaged."""
        if self.rescore is None:
            return (1, 7) if self.v2 else (1, 2, 3)
        return self.rescore

    def comparisons(self, layers: Iterable[Layer]) -> list[tuple[Layer, Sequence[int]]]:
        """(layer, sides of the neighbourhoods) of each comparison; their distances are averaged."""
        return [(n, sides) for n in layers for sides in ([self.r] if self.v2 else zip(self.r))]

    def rows(
        self, tokens: torch.Tensor, grid: tuple[int, int], sides: Sequence[int]
    ) -> torch.Tensor:
        """(B, h·w, C) tokens -> the unit vectors that are compared."""
        return lifted(snamd(tokens, grid, sides)) if self.v2 else lnamd(tokens, grid, *sides)

    def distance(self, similarity: torch.Tensor) -> torch.Tensor:
        """(B, M, P) cosines of rows -> (B, P) mean distance to the other images."""
        found = mean_distance(similarity, self.interval)
        return found * 2**0.5 if self.v2 else found

    def salient(self, tokens: torch.Tensor, grid_map: torch.Tensor) -> torch.Tensor:
        """(B, C) unit vectors of the most anomalous patch of each image."""
        found = snamd(tokens, (grid_map.shape[1], grid_map.shape[2]), self.r)
        return found[torch.arange(len(found)), grid_map.flatten(1).argmax(dim=1)]

    def pool(self) -> MuScPool:
        """A collector of images to score jointly."""
        return MuScPool(self)
