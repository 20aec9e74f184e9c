"""APRIL-GAN, winner of the VAND challenge (Chen et al., CVPR 2023 workshop, arXiv 2305.17382)."""

from __future__ import annotations

from functools import reduce
from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.adapters import Adapter, load_adapter
from vlad.errors import HeadError
from vlad.heads.head import Trained
from vlad.heads.references import layer_distances, nearest_references, remembered
from vlad.heads.rules import ADAPTER, FLAG
from vlad.heads.scaled_pool import ScaledPool
from vlad.heads.sentences import of_worst_patches
from vlad.maths.logits import Logits, anomalous_logit, side_vectors
from vlad.maths.maps import enlarge, upsample
from vlad.maths.rescore import scale
from vlad.types import BackboneInfo, Features, FeatureSpec, Reason, Scores, TextFeatures, TextSpec

TEMPERATURE = 0.01


class AprilGAN(Trained):
    """Learned linear projections map the patches of several blocks to the text embedding space.

    Zero-shot, the image score is p(anomalous) of the image embedding and the map is the sum over
    blocks of the patches' p(anomalous) (paper, section 3.1). After `fit`, cosine distances to the
    nearest reference patch are added to the map, and the image score becomes the mean of p and the
    maximum of the map (section 3.2).

    Args:
        adapter: the learned projections, by name or path (see `vlad.adapters`).
        rescale: whether to scale the maxima of the maps to [0, 1] over all images scored together
            before they enter the image score, as the authors' code does. This makes the fitted head
            transductive; without it, images are scored independently.
    """

    bank = "april_gan"
    normals = "optional"
    additive = True
    rules: ClassVar = {"adapter": ADAPTER, "rescale": FLAG}

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

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Raw patch tokens of the adapter's layers; always exact GELU, as in the authors' code.

        Raises:
            AdapterError: no adapter, or one that does not fit the backbone.
        """
        self.adapter_ = load_adapter(self.adapter, "april_gan", backbone)
        return FeatureSpec(
            layers=tuple(self.adapter_.params["layers"]),
            image_size=self.adapter_.params.get("image_size"),
            activation="gelu",
            text=TextSpec(activation="gelu"),
        )

    def logits(self, features: Features, sides: torch.Tensor) -> Logits:
        """How anomalous B images and their patches are, given the vectors of both sides."""
        assert features.image is not None  # the spec asks for it
        patches = [anomalous_logit(x, sides, TEMPERATURE) for x in self._projected(features)]
        return Logits(
            anomalous_logit(features.image, sides, TEMPERATURE), torch.stack(patches, dim=1)
        )

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The sentences that speak for each side of a region's worst patch in its worst block.

        With references also the nearest patch of these.
        """
        assert text is not None  # `score` refuses an image without
        logits = self.logits(features, side_vectors(text)).patches[0]
        vectors = torch.cat([x[0] for x in self._projected(features)])
        said = of_worst_patches(vectors, logits, regions, text)
        total = logits.sigmoid().sum(dim=0)
        return nearest_references(features, self.memory_, total, regions, said)

    def _projected(self, features: Features) -> list[torch.Tensor]:
        """(B, h·w, D) patches of each block in the space of text."""
        tensors, found = self.adapter_.tensors, []
        for i, x in enumerate(features.patches.values()):
            weight, bias = (tensors[f"projections.{i}.{part}"].to(x) for part in ("weight", "bias"))
            found.append(F.linear(x, weight, bias))
        return found

    def layer_maps(
        self, patches: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> torch.Tensor:
        """(B, L, h·w) logits -> (B, L, H, W) probabilities; the logits are enlarged."""
        return enlarge(patches, grid, size, align_corners=True).sigmoid()

    def fit(self, features: Features) -> AprilGAN:
        """Remember the patches of normal images."""
        self.memory_ = remembered(features)
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
        """(B,) p(anomalous) of the image embedding, and (B, H, W) maps: sums over blocks."""
        if text is None:
            raise HeadError("Head april_gan compares images with prompts: give it a category.")
        logits = self.logits(features, side_vectors(text))
        grid, size = features.grid, features.size
        # block by block: all blocks of a batch at full size would set the memory peak
        each = (self.layer_maps(x, grid, size)[:, 0] for x in logits.patches.split(1, dim=1))
        total = reduce(torch.add, each)
        if self.fitted:
            distance = reduce(torch.add, layer_distances(features, self.memory_))
            total = total + upsample(distance.unflatten(1, grid), size, align_corners=True)
        return logits.image.sigmoid(), total

    def together(self, probabilities: torch.Tensor, maxima: torch.Tensor) -> torch.Tensor:
        """(N,) scores of all images: the mean of probability and scaled maximum."""
        return (probabilities + scale(maxima)) / 2
