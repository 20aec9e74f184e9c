"""MetaUAS (Gao, NeurIPS 2024, arXiv 2505.09265)."""

from __future__ import annotations

from typing import ClassVar

import torch

from vlad.adapters import load_adapter
from vlad.errors import HeadError
from vlad.heads.head import Trained
from vlad.heads.rules import ADAPTER
from vlad.maths.changes import ALIGNED, change_logit
from vlad.maths.logits import Logits
from vlad.maths.parts import by_cell, parts_of
from vlad.types import BackboneInfo, Features, FeatureSpec, Scores, TextFeatures


class MetaUAS(Trained):
    """What has changed from a normal image, segmented by a network that learned it on other pairs.

    The coarse maps of a frozen convolutional network are aligned with those of the normal image; a
    decoder reads both and gives the probability of a change at each pixel. The image score is the
    maximum of the map.

    The method takes one normal image. With several, each is compared on its own and the maps are
    averaged, which is ours.

    Args:
        adapter: alignment and decoder, by name or path (see `vlad.adapters`).
    """

    normals = "needed"
    additive = True
    paired = True
    rules: ClassVar = {"adapter": ADAPTER}

    @property
    def map_range(self) -> tuple[float, float]:
        """A probability."""
        return 0.0, 1.0

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Maps of the backbone's convolutional network.

        Raises:
            AdapterError: no adapter, or one that does not fit the backbone.
        """
        self.adapter_ = load_adapter(self.adapter, "metauas", backbone)
        size = self.adapter_.params.get("image_size")
        return FeatureSpec(pyramid=True, image=False, image_size=size)

    def logits(self, features: Features, sides: torch.Tensor | None = None) -> Logits:
        """It has none for an image alone.

        Raises:
            HeadError: always.
        """
        raise HeadError("Head metauas compares images with a normal one; call `pair_logits`.")

    def pair_logits(
        self, features: Features, sides: torch.Tensor | None, normals: Features
    ) -> Logits:
        """How much B images and their pixels differ from a normal image each; `sides` is ignored.

        The patches are the pixels, as one block: (B, 1, H·W).
        """
        pixels = self._changed(features, normals.pyramid).flatten(1)
        return Logits(pixels.amax(dim=1, keepdim=True), pixels[:, None])

    def layer_maps(
        self, patches: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> torch.Tensor:
        """(B, 1, H·W) logits -> (B, 1, H, W) probabilities."""
        return patches.sigmoid().unflatten(2, size)

    def fit(self, features: Features) -> MetaUAS:
        """Remember the coarse maps of normal images."""
        coarse = features.pyramid[-ALIGNED:]
        self.memory_ = {f"normal.{i}": x for i, x in enumerate(coarse)}
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images: in [0, 1].

        Raises:
            HeadError: the head is not fitted.
        """
        whole = self._maps(features)
        return Scores(whole.flatten(1).amax(dim=1), whole)

    def contributions(self, features: Features, text: TextFeatures | None) -> torch.Tensor:
        """(h·w,) the whole score where its pixel is."""
        parts = parts_of(lambda x: x.flatten(1).amax(dim=1), self._maps(features))
        return by_cell(parts, features.grid)[0]

    def _maps(self, features: Features) -> torch.Tensor:
        """(B, H, W) probabilities of a change, mean over the normal images."""
        known = list(zip(*(x.split(1) for x in self.needed_memory().values()), strict=True))
        return torch.stack([self._changed(features, one).sigmoid() for one in known]).mean(dim=0)

    def _changed(self, features: Features, normal: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """(B, H, W) logits of a change from the normal image."""
        device = features.pyramid[0].device
        tensors = {name: x.to(device) for name, x in self.adapter_.tensors.items()}
        return change_logit(features.pyramid, normal, tensors, self.training)
