"""What APRIL-GAN and SOWA share: maps that are sums over blocks, and distances to references."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, ClassVar

import torch

from vlad.adapters import Adapter
from vlad.errors import HeadError
from vlad.heads.head import Trained
from vlad.heads.references import layer_distances, remembered
from vlad.heads.rules import ADAPTER, FLAG
from vlad.heads.scaled_pool import ScaledPool
from vlad.maths.maps import gaussian_blur, upsample
from vlad.maths.rescore import scale
from vlad.types import Features, Scores, TextFeatures

if TYPE_CHECKING:
    from typing_extensions import Self


class BlockSums(Trained):
    """The map is the sum over blocks of p(anomalous), plus, after `fit`, of cosine distances.

    Args:
        adapter, rescale: as in its subclasses.

    Attributes:
        needs: the head, what it compares images with, and what to give if `text` is missing.
        sigma: smoothing of the sum of probabilities in pixels; 0 is none.
    """

    normals = "optional"
    additive = True
    enlarged_logits = True
    rules: ClassVar = {"adapter": ADAPTER, "rescale": FLAG}
    needs: ClassVar[tuple[str, str, str]]
    sigma: ClassVar[float] = 0.0

    def __init__(self, adapter: str | Adapter | None = None, rescale: bool = True):
        self.adapter = adapter
        self.rescale = rescale

    @property
    def map_range(self) -> tuple[float, float]:
        """Each block adds a probability and, with references, a distance of at most 2."""
        layers = len(self.adapter_.params["layers"])
        return (0.0, layers * (3.0 if self.fitted else 1.0))

    @property
    def transductive(self) -> bool:
        """True if image scores depend on the other images scored."""
        return self.rescale and self.fitted

    def compared(self, features: Features) -> Features:
        """With the patches that are compared with references."""
        return features

    def fit(self, features: Features) -> Self:
        """Remember the patches of normal images."""
        self.memory_ = remembered(self.compared(features))
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images.

        Raises:
            HeadError: `text` is missing.
        """
        score, anomaly_map = self.compare(features, text)
        if self.fitted:
            score = (score + anomaly_map.flatten(1).amax(dim=1)) / 2
        return Scores(score, anomaly_map)

    def pool(self) -> ScaledPool:
        """A collector of images, to scale their maxima together."""
        return ScaledPool(self)

    def compare(
        self, features: Features, text: TextFeatures | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) p(anomalous) of the image embedding, and (B, H, W) maps."""
        if text is None:
            head, prompts, missing = self.needs
            raise HeadError(f"Head {head} compares images with {prompts}: give it {missing}.")
        logits = self.logits(features, self.sides(text))
        grid, size = features.grid, features.size
        # block by block: all blocks of a batch at full size would set the memory peak
        each = (self.layer_maps(x, grid, size)[:, 0] for x in logits.patches.split(1, dim=1))
        total = reduce(torch.add, each)
        total = gaussian_blur(total, self.sigma) if self.sigma else total
        if self.fitted:
            distance = reduce(torch.add, layer_distances(self.compared(features), self.memory_))
            total = total + upsample(distance.unflatten(1, grid), size, align_corners=True)
        return logits.image.sigmoid(), total

    def together(self, probabilities: torch.Tensor, maxima: torch.Tensor) -> torch.Tensor:
        """(N,) scores of all images: the mean of probability and scaled maximum."""
        return (probabilities + scale(maxima)) / 2
