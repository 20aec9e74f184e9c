"""Patch memory: the distance of each patch to the nearest patch of the reference images.

The defaults follow AnomalyDINO (Damm et al., WACV 2025, arXiv 2405.14529): cosine distance, mean of
the top 1 % as image score. `patchcore` follows PatchCore.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from vlad.heads.head import Head
from vlad.heads.rules import FLAG, LAYERS, ODD, PART, SHARE, number, one_of, optional, whole
from vlad.images.normals import Rotations
from vlad.maths.foreground import foreground
from vlad.maths.maps import top_mean, upsample
from vlad.maths.neighbours import Bank, Metric, greedy_coreset, widest
from vlad.system.torch_state import own_state
from vlad.types import BackboneInfo, Features, FeatureSpec, Parts, Scores, TextFeatures

# rows of a layer, at most, whose distances give the scale of the maps
SAMPLE = 4096
# share of the metric's bound below which distances are only rounding
ALIKE = 1e-6


class Memory(Head):
    """Distance of each patch to its nearest neighbour among the patches of normal images.

    Args:
        layers: blocks whose patch tokens are compared, distances averaged: block numbers, fractions
            of the depth, or lists of them whose tokens are averaged first; None takes those that
            the backbone names for this, else one, two and three quarters of the depth.
        metric: "cosine" (1 − cos) or "squared_l2".
        top: fraction of the patches whose mean distance is the image score; 0 is the maximum.
        sigma: standard deviation of the Gaussian that smooths the map, in pixels of the input.
        coreset: fraction of the reference patches kept (greedy k-centre); None keeps all.
        rotations: number of evenly spaced rotations remembered of each reference image.
        neighbourhood: side of the square of patches averaged (zero-padded) before comparison.
        join: whether to join the layers into one vector of the backbone's width (adaptive average
            pooling over channels, as in PatchCore) instead of comparing them one by one.
        patch_output: applied to the patch tokens: nothing ("raw"), the last LayerNorm ("ln_post"),
            or it and the projection into the space of text ("ln_post_proj").
        mask: sets patches off the object to 0, as a principal component of each image's own patches
            tells it: "grid" fills gaps on the grid, "flat" along the reading order, as
            AnomalyDINO's program does. Its threshold is made for DINOv2's tokens.
        mask_references: whether patches of reference images off the object are not remembered.
    """

    normals = "needed"
    additive = True
    rules: ClassVar = {
        "layers": optional(LAYERS),
        "metric": one_of("cosine", "squared_l2"),
        "top": SHARE,
        "sigma": number(0, 1000, "0 to 1000 pixels"),
        "coreset": optional(PART),
        "rotations": whole(1, 360),
        "neighbourhood": ODD,
        "join": FLAG,
        "patch_output": one_of("raw", "ln_post", "ln_post_proj"),
        "mask": optional(one_of("grid", "flat")),
        "mask_references": FLAG,
    }

    def __init__(
        self,
        layers: Parts | None = None,
        metric: Metric = "cosine",
        top: float = 0.01,
        sigma: float = 4.0,
        coreset: float | None = None,
        rotations: int = 1,
        neighbourhood: int = 1,
        join: bool = False,
        patch_output: Literal["raw", "ln_post", "ln_post_proj"] = "raw",
        mask: Literal["grid", "flat"] | None = None,
        mask_references: bool = False,
    ):
        self.layers = layers
        self.metric = metric
        self.top = top
        self.sigma = sigma
        self.coreset = coreset
        self.rotations = rotations
        self.neighbourhood = neighbourhood
        self.join = join
        self.patch_output = patch_output
        self.mask = mask
        self.mask_references = mask_references
        self.banks_: dict[str, Bank] = {}
        self.spans_: dict[str, tuple[torch.Tensor, float]] = {}

    @property
    def normal_views(self) -> Rotations:  # type: ignore[override]
        """The rotations of each reference image."""
        return Rotations(self.rotations)

    @property
    def map_range(self) -> tuple[float, float]:
        """From 0 to the largest distance between two patches of its memory, in three digits.

        Patches that differ more from all of the memory lie above it. A large memory is compared by
        4096 evenly spaced patches of each layer. If all patches are alike, it is the bound of the
        metric, for squared distances that between vectors no longer than those stored.

        Raises:
            HeadError: the head is not fitted.
        """
        memory = self.needed_memory()
        bound = 2.0
        if self.metric == "squared_l2":
            bound = 4 * max(x.square().sum(dim=-1).max().item() for x in memory.values())
        top = sum(self._span(name, rows) for name, rows in memory.items()) / len(memory)
        # digits that do not depend on the machine, so that neither do files
        return (0.0, float(f"{top:.3g}") if top > ALIKE * bound else bound)

    @property
    def rows_of_images(self) -> list[str]:
        """None, if a coreset or a mask chooses among all rows."""
        return [] if self.coreset is not None or self.mask_references else super().rows_of_images

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Patch tokens of its layers."""
        layers = backbone.layers(self.layers or backbone.compare or (0.25, 0.5, 0.75))
        return FeatureSpec(layers=layers, patch_output=self.patch_output, image=False)

    def fit(self, features: Features) -> Memory:
        """Remember the patches of normal images."""
        patches = self._patches(features)
        if self.mask_references:
            kept = self.on_object(features).flatten()
            patches = [(name, x.flatten(0, 1)[None, kept]) for name, x in patches]
        self.memory_ = {name: self._reduce(x.flatten(0, 1), self.coreset) for name, x in patches}
        return self

    def fit_union(self, parts: Sequence[Memory]) -> Memory:
        """Merge memories of equally many images each and reduce them again to its own size.

        Greedy k-centre of a union of greedy k-centres: the farthest patch left out is at most 4
        times as far as with the best k, against 2 times for one greedy pass (Malkomes et al., NIPS
        2015).
        """
        own, shares = self.coreset, parts[0].coreset
        kept = None if own is None or shares is None else min(1.0, own / shares)
        self.memory_ = {
            name: self._reduce(torch.cat([part.memory_[name] for part in parts]), kept)
            for name in parts[0].memory_
        }
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images; cosine distances lie in [0, 2].

        Raises:
            HeadError: the head is not fitted.
        """
        memory = self.needed_memory()
        distances = [
            self._bank(name, memory[name], features.bfloat16).nearest(patches)
            for name, patches in self._patches(features)
        ]
        distance = torch.stack(distances).mean(dim=0)
        distance = torch.where(self.on_object(features), distance, 0.0)
        grid_map = distance.unflatten(1, features.grid)
        return Scores(
            image_score=top_mean(distance, self.top),
            anomaly_map=upsample(grid_map, features.size, sigma=self.sigma),
        )

    def on_object(self, features: Features) -> torch.Tensor:
        """(B, h·w) bool, by the tokens of the last layer; all true without a mask."""
        last = list(features.patches.values())[-1]
        if not self.mask:
            return torch.ones(last.shape[:2], dtype=torch.bool, device=last.device)
        return foreground(last, features.grid, flat=self.mask == "flat")

    @own_state()
    def _span(self, name: str, rows: torch.Tensor) -> float:
        """The largest distance between two of the rows stored under a name, found once."""
        source, span = self.spans_.get(name, (None, 0.0))
        if source is not rows:
            sample = rows
            if len(rows) > SAMPLE:
                places = torch.arange(SAMPLE, device=rows.device) * (len(rows) - 1) // (SAMPLE - 1)
                sample = rows[places]
            span = widest(sample)
            if self.metric == "cosine":  # ‖a−b‖² = 2 (1 − cos) for vectors of unit length
                span /= 2
            self.spans_[name] = rows, span
        return span

    def _bank(self, name: str, rows: torch.Tensor, bfloat16: bool) -> Bank:
        """The bank stored under a name, prepared once."""
        bank = self.banks_.get(name)
        if bank is None or bank.source is not rows or bank.bfloat16 != bfloat16:
            bank = self.banks_[name] = Bank(rows, self.metric, bfloat16)
        return bank

    def _patches(self, features: Features) -> list[tuple[str, torch.Tensor]]:
        """(name, (B, h·w, C)) of the tokens compared."""
        patches = {str(n): self._average(x, features.grid) for n, x in features.patches.items()}
        if not self.join:
            return list(patches.items())
        width = next(iter(patches.values())).shape[-1]
        joined = torch.cat(list(patches.values()), dim=-1)
        return [("joined", F.adaptive_avg_pool1d(joined, width))]

    def _average(self, patches: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        side = self.neighbourhood
        if side == 1:
            return patches
        image = patches.transpose(1, 2).unflatten(2, grid)
        return F.avg_pool2d(image, side, stride=1, padding=side // 2).flatten(2).transpose(1, 2)

    def _reduce(self, rows: torch.Tensor, fraction: float | None) -> torch.Tensor:
        """The rows to keep, of unit length if the metric is the cosine."""
        if self.metric == "cosine":
            rows = F.normalize(rows, dim=-1)
        if fraction is None:
            return rows
        return rows[greedy_coreset(rows, max(1, int(fraction * len(rows))))]


def patchcore(
    layers: Parts | None = None,
    coreset: float | None = 0.25,
    patch_output: Literal["raw", "ln_post", "ln_post_proj"] = "raw",
) -> Memory:
    """The rules of PatchCore: 3×3 averages, joined layers, squared L2, maximum, greedy coreset.

    PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265).
    """
    return Memory(
        layers=layers,
        metric="squared_l2",
        top=0,
        coreset=coreset,
        neighbourhood=3,
        join=True,
        patch_output=patch_output,
    )
