"""Patch memory: the distance of each patch to the nearest patch of the reference images.

The defaults follow AnomalyDINO (Damm et al., WACV 2025, arXiv 2405.14529): cosine distance, mean of
the top 1 % as image score. `patchcore` follows PatchCore.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from vlad.errors import HeadError
from vlad.heads.head import Head
from vlad.heads.memory_chosen import chosen_images
from vlad.heads.memory_gather import (
    GRID,
    MemoryGather,
    grid_of,
    known_moments,
    layers_of,
    merged,
    union,
)
from vlad.heads.memory_layer import Layer, Space
from vlad.heads.memory_own import own_scale
from vlad.heads.memory_search import search_in
from vlad.heads.rules import (
    FLAG,
    LAYERS,
    ODD,
    PART,
    SHARE,
    list_of,
    number,
    one_of,
    optional,
    whole,
)
from vlad.heads.self_reference import RANK, quiet_border, unlikeness
from vlad.images.normals import CHANGES, Views, views_of
from vlad.maths.foreground import foreground
from vlad.maths.maps import top_mean, top_mean_without, top_parts, upsample
from vlad.maths.neighbours import Metric
from vlad.types import BackboneInfo, Features, FeatureSpec, Parts, Reason, Scores, TextFeatures

# options that forget which place of which image a patch is of
FORGETTING = ("coreset", "limit", "mask_references")
# share of the metric's bound below which distances are only rounding
ALIKE = 1e-6


@dataclass(eq=False, repr=False)
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
        limit: reference patches kept of each layer, at most, while normal images are read: memory
            does not grow with their number. Whenever there are twice as many, a greedy k-centre
            coreset of them is kept. None keeps all.
        rotations: number of evenly spaced rotations remembered of each reference image.
        views: further views remembered of each: "horizontal_flip", "vertical_flip", and
            "colour_jitter", brightness, contrast and saturation changed by up to 10 %.
        position: grid cells, in any direction, within which a patch has to lie to be compared; None
            compares patches of all places.
        nearest_images: how many reference images, those with the most similar image embedding, an
            image is compared with; each view counts as one, and None is all.
        whiten: whether tokens (with "cosine" of unit length) are compared by squared Euclidean
            distance along the principal components that hold 99 % of the variance of the reference
            patches, each divided by its standard deviation (shrunk as by Ledoit and Wolf).
        self_reference: weight of how unlike the rest of its own image a patch is, as the head of
            that name has it, scaled to the spread of distances between reference images.
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
        "limit": optional(whole(1, 10**9)),
        "rotations": whole(1, 360),
        "views": list_of(one_of(*CHANGES), f"a list of {', '.join(CHANGES)}", least=0),
        "position": optional(whole(0, 10_000)),
        "nearest_images": optional(whole(1, 10**9)),
        "whiten": FLAG,
        "self_reference": number(0, 10, "0 to 10"),
        "neighbourhood": ODD,
        "join": FLAG,
        "patch_output": one_of("raw", "ln_post", "ln_post_proj"),
        "mask": optional(one_of("grid", "flat")),
        "mask_references": FLAG,
    }

    layers: Parts | None = None
    metric: Metric = "cosine"
    top: float = 0.01
    sigma: float = 4.0
    coreset: float | None = None
    rotations: int = 1
    neighbourhood: int = 1
    join: bool = False
    patch_output: Literal["raw", "ln_post", "ln_post_proj"] = "raw"
    mask: Literal["grid", "flat"] | None = None
    mask_references: bool = False
    limit: int | None = None
    views: Sequence[str] = ()
    position: int | None = None
    nearest_images: int | None = None
    whiten: bool = False
    self_reference: float = 0.0

    def __post_init__(self) -> None:
        self.layers_: dict[str, Layer] = {}
        self.own_scale_: tuple[object, float] = (None, 0.0)

    @property
    def normal_views(self) -> Views:  # type: ignore[override]
        """The rotations and further views of each reference image."""
        return views_of(self.rotations, self.views)

    @property
    def by_image(self) -> str:
        """The option for which it has to know which place of which image a patch is of, or ""."""
        given = {
            "position": self.position is not None,
            "nearest_images": self.nearest_images is not None,
            "self_reference": self.self_reference > 0,
        }
        return next((name for name, used in given.items() if used), "")

    @property
    def forgets(self) -> str:
        """The option for which it keeps some patches only, or ""."""
        return next((name for name in FORGETTING if getattr(self, name)), "")

    @property
    def whole_images(self) -> bool:  # type: ignore[override]
        """True if it compares places."""
        return self.position is not None

    @property
    def map_range(self) -> tuple[float, float]:
        """From 0 to the largest distance between two patches of its memory, in three digits.

        With `self_reference`, 1 + its weight times that. Patches that differ more lie above it. A
        large memory is compared by 4096 evenly spaced patches of each layer. If all patches are
        alike, it is the bound of the metric, for squared distances that between vectors no longer
        than those compared.

        Raises:
            HeadError: the head is not fitted.
        """
        self.needed_memory()
        layers = [self.layer(name) for name in layers_of(self.memory_)]
        bound = 2.0
        if layers[0].space.metric == "squared_l2":
            bound = 4 * max(x.rows.square().sum(dim=-1).max().item() for x in layers)
        both = 1 + self.self_reference
        bound, top = both * bound, both * sum(layer.widest() for layer in layers) / len(layers)
        # digits that do not depend on the machine, so that neither do files
        return (0.0, float(f"{top:.3g}") if top > ALIKE * bound else bound)

    @property
    def rows_of_images(self) -> list[str]:
        """None, if rows are chosen among those of all images, or whitened by them."""
        if self.coreset is not None or self.limit or self.mask_references or self.whiten:
            return []
        return [name for name in self.memory_ if name != GRID]

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Patch tokens of its layers, and the image embedding to choose reference images.

        Raises:
            HeadError: options that exclude each other.
        """
        for name in FORGETTING if self.by_image else ():
            if getattr(self, name):
                raise HeadError(
                    f"Head {self.name}: with `{name}` it is not known which place of which image a "
                    f"patch is of; leave out `{name}`, or `{self.by_image}`."
                )
        if self.coreset and self.limit:
            raise HeadError(
                f"Head {self.name}: `coreset` keeps a share of the patches and `limit` a number; "
                "leave one of them out."
            )
        layers = backbone.compared(self.layers)
        image = self.nearest_images is not None
        return FeatureSpec(layers=layers, patch_output=self.patch_output, image=image)

    def gather(self) -> MemoryGather:
        """A collector of normal images."""
        return MemoryGather(self)

    def merge(
        self, first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The memory of the images of both.

        Raises:
            HeadError: images of another size, if places or images are told apart.
        """
        return merged(self, first, second)

    def fit_union(self, parts: Sequence[Memory]) -> Memory:
        """Merge memories and reduce them again to the size of its own coreset of all their images.

        Greedy k-centre of a union of greedy k-centres: the farthest patch left out is at most 4
        times as far as with the best k, against 2 times for one greedy pass (Malkomes et al., NIPS
        2015).
        """
        kept = None
        if self.coreset is not None:
            counts = [len(part.memory_[next(layers_of(part.memory_))]) for part in parts]
            seen = sum(n / (part.coreset or 1) for n, part in zip(counts, parts, strict=True))
            kept = min(1.0, self.coreset * seen / sum(counts))
        self.memory_ = union(self, [part.memory_ for part in parts], kept)
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images; cosine distances lie in [0, 2].

        Raises:
            HeadError: the head is not fitted; or, with `position`, `nearest_images` or
                `self_reference`, on another grid of patches, and with the last one on one image.
        """
        distance, grid_map = self._distances(features)
        anomaly_map = upsample(grid_map, features.size, sigma=self.sigma)
        return Scores(top_mean(distance, self.top), anomaly_map)

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The nearest reference patch of the worst patch of each region.

        Its distance is the mean over layers, each to its own nearest patch. If these differ, the
        one named has the least mean distance; if patches were forgotten, it is the last layer's.
        """
        search, distance = search_in(self, features), self._distances(features)[0][0]
        tokens = [tokens[0] for _, tokens in self.compared(features)]
        return [(one,) for one in search.nearest(tokens, distance, regions)]

    def contributions(self, features: Features, text: TextFeatures | None) -> torch.Tensor:
        """Of each patch among the top share its value, divided by their number."""
        return top_parts(self._distances(features)[0][0], self.top)

    def without(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> torch.Tensor | None:
        """Scores with the tokens of each region replaced by those nearest to them in memory.

        None with `self_reference`, which compares other patches with them.
        """
        if self.self_reference:
            return None
        return top_mean_without(self._distances(features)[0][0], regions, self.top)

    def _distances(self, features: Features) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, h·w) values of the patches, and (B, h, w) those for the map."""
        self.needed_memory()
        chosen = chosen_images(self, features) if self.by_image else None
        compared, seen = self.compared(features), self.on_object(features)
        distances = [
            self.layer(name).nearest(tokens, chosen, features.bfloat16) for name, tokens in compared
        ]
        distance = torch.where(seen, torch.stack(distances).mean(dim=0), 0.0)
        grid_map = distance.unflatten(1, features.grid)
        if self.self_reference:
            own = unlikeness([tokens for _, tokens in compared], RANK, self.name)
            own = torch.where(seen, own * self.self_reference * self._own_scale(), 0.0)
            distance = distance + own
            grid_map = grid_map + quiet_border(own.unflatten(1, features.grid))
        return distance, grid_map

    def on_object(self, features: Features) -> torch.Tensor:
        """(B, h·w) bool, by the tokens of the last layer; all true without a mask."""
        last = list(features.patches.values())[-1]
        if not self.mask:
            return torch.ones(last.shape[:2], dtype=torch.bool, device=last.device)
        return foreground(last, features.grid, flat=self.mask == "flat")

    def compared(self, features: Features) -> list[tuple[str, torch.Tensor]]:
        """(name, (B, h·w, C)) of the tokens compared."""
        patches = {str(n): self._average(x, features.grid) for n, x in features.patches.items()}
        if not self.join:
            return list(patches.items())
        width = next(iter(patches.values())).shape[-1]
        joined = torch.cat(list(patches.values()), dim=-1)
        return [("joined", F.adaptive_avg_pool1d(joined, width))]

    def layer(self, name: str) -> Layer:
        """What it remembers of a layer, prepared once."""
        rows, layer = self.memory_[name], self.layers_.get(name)
        if layer is None or layer.source is not rows:
            space = Space(self.metric, known_moments(self.memory_).get(name))
            grid = grid_of(self.memory_) if self.by_image else None
            layer = self.layers_[name] = Layer(rows, space, grid, self.position)
        return layer

    def _own_scale(self) -> float:
        """What distances inside an image are multiplied by, found once."""
        memory, scale = self.own_scale_
        if memory is not self.memory_:
            layers = [self.layer(name) for name in layers_of(self.memory_)]
            scale = own_scale(layers, self.rotations + len(set(self.views)), self.name)
            self.own_scale_ = self.memory_, scale
        return scale

    def _average(self, patches: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        side = self.neighbourhood
        if side == 1:
            return patches
        image = patches.transpose(1, 2).unflatten(2, grid)
        return F.avg_pool2d(image, side, stride=1, padding=side // 2).flatten(2).transpose(1, 2)
