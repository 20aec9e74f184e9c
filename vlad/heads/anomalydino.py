"""AnomalyDINO as its authors run it (Damm et al., WACV 2025, arXiv 2405.14529)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from vlad.errors import HeadError
from vlad.heads.head import Batched
from vlad.heads.memory import Memory
from vlad.heads.memory_gather import MemoryGather
from vlad.heads.rules import FLAG, PART, one_of, optional, whole
from vlad.maths.maps import top_mean, upsample
from vlad.maths.neighbours import mean_below
from vlad.system.spool import Spool
from vlad.types import BackboneInfo, Features, FeatureSpec, Scores, TextFeatures

LEAST = 2  # images that can be compared with one another


class AnomalyDINO(Batched, Memory):  # type: ignore[misc]
    """Patches of the last block, after the final LayerNorm, compared with those of normal images.

    A patch is as anomalous as its cosine distance to the nearest remembered patch; patches off the
    object count as 0. The image score is the mean of the top 1 % of the patches.

    Args:
        rotations: number of evenly spaced rotations remembered of each reference image.
        mask: how gaps of the object are filled: "flat", as in the authors' program, along the
            reading order, "grid" on the grid; None takes all patches.
        mask_references: whether patches of reference images off the object are not remembered.
        batched: whether patches are compared with those of the other images scored, in place of
            normal ones, which makes the head transductive.
        quantile: share of these whose distances are averaged.
    """

    rules: ClassVar = {
        "rotations": whole(1, 360),
        "mask": optional(one_of("flat", "grid")),
        "mask_references": FLAG,
        "batched": FLAG,
        "quantile": PART,
    }

    def __init__(
        self,
        rotations: int = 8,
        mask: Literal["flat", "grid"] | None = "flat",
        mask_references: bool = False,
        batched: bool = False,
        quantile: float = 0.001,
    ):
        super().__init__(rotations=rotations, mask=mask, mask_references=mask_references)
        self.batched = batched
        self.quantile = quantile

    @property
    def map_range(self) -> tuple[float, float]:
        """That of `memory`; if it is batched, all cosine distances."""
        return (0.0, 2.0) if self.batched else super().map_range

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Patch tokens of the last block, after the final LayerNorm."""
        return FeatureSpec(layers=(backbone.depth,), patch_output="ln_post", image=False)

    def gather(self) -> MemoryGather:
        """A collector of normal images.

        Raises:
            HeadError: it is batched.
        """
        self.refuse_normals()
        return super().gather()

    def pool(self) -> _Pool:
        """A collector of images that are compared with one another."""
        return _Pool(self)


class _Pool:
    """Keeps the patches of all images, and which are on the object, until all are added."""

    def __init__(self, head: AnomalyDINO):
        self.head = head
        self.spool = Spool()
        self.images: list[torch.Tensor] = []
        self.objects: list[torch.Tensor] = []
        self.finite: list[bool] = []
        self.frames: list[Features] = []

    def add(self, features: Features, text: TextFeatures | None = None) -> None:
        (tokens,) = features.patches.values()
        kept = self.head.on_object(features)
        self.finite += tokens.isfinite().flatten(1).all(dim=1).tolist()
        for place, one in enumerate(tokens):
            self.images.append(self.spool.keep(F.normalize(one, dim=-1)))
            self.objects.append(kept[place])
            self.frames.append(replace(features, image=None, patches={}))

    def scores(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Scores]:
        if sum(self.finite) < LEAST:
            raise HeadError(
                f"Head {self.head.name} compares images with one another; give at least {LEAST}."
            )
        for place, (one, frame) in enumerate(zip(self.images, self.frames, strict=True)):
            others = [
                x
                for i, (x, finite) in enumerate(zip(self.images, self.finite, strict=True))
                if finite and i != place
            ]
            device = self.objects[place].device
            distance = mean_below(one.to(device), others, self.head.quantile)[None]
            distance = torch.where(self.objects[place], distance, 0.0)
            if not self.finite[place]:
                distance = torch.full_like(distance, float("nan"))
            yield Scores(
                top_mean(distance, self.head.top),
                upsample(distance.unflatten(1, frame.grid), frame.size, sigma=self.head.sigma),
            )
            if progress:
                progress(place + 1, len(self.images))
