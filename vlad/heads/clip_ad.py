"""CLIP-AD, SDP and SDP+ (Chen et al., arXiv 2311.00453)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from vlad.adapters import Adapter, load_adapter
from vlad.adapters.layouts import QUARTERS
from vlad.errors import HeadError
from vlad.heads.head import Trained
from vlad.heads.rules import ADAPTER, FLAG, number, one_of, whole
from vlad.heads.scaled_pool import ScaledPool
from vlad.heads.sentences import of_worst_patches
from vlad.maths.logits import Logits, anomalous_logit, side_vectors
from vlad.maths.maps import gaussian_blur, upsample
from vlad.maths.networks import linear
from vlad.maths.representative import dense_sides, dense_text
from vlad.maths.rescore import scale
from vlad.types import (
    BackboneInfo,
    Features,
    FeatureSpec,
    Reason,
    Scores,
    Stream,
    TextFeatures,
    TextSpec,
)

TEMPERATURE = 0.01


@dataclass(eq=False, repr=False)
class CLIPAD(Trained):
    """Patches of a staged second stream are compared with one representative vector a side.

    Without an adapter this is SDP (paper, section 3.3): a stream with v-v attention restarts after
    every quarter of the depth, the class token of each quarter weights the two sides, and what both
    sides share is removed. With an adapter it is SDP+ (section 3.4): learned linear projections of
    the ordinary stream add their probabilities to the map.

    Where the authors' code departs from the paper, this follows the code: the ordinary stream has
    the attention of the following block added, and the image score sums probability and maximum of
    the map, each scaled over all images of the category.

    Args:
        adapter: the learned projections, by name or path (see `vlad.adapters`); None is SDP.
        text: the representative vector of a side: "dbscan", the mean of the largest cluster of its
            sentences, or "mean", that of all of them.
        eps: largest distance between neighbouring sentences of a cluster, as unit vectors.
        min_samples: sentences within `eps`, itself included, that make one the core of a cluster.
        sigma: smoothing of the map in pixels; 0 is none.
        rescale: whether to scale both parts of the image score to [0, 1] over all images scored
            together. This makes the head transductive; without it, the score is the probability
            plus the maximum of the map's mean over blocks.
    """

    bank = "clip_ad"
    needs_adapter = False
    enlarged_logits = True
    rules: ClassVar = {
        "adapter": ADAPTER,
        "text": one_of("dbscan", "mean"),
        "eps": number(1e-6, 2, "a distance between unit vectors, above 0, up to 2"),
        "min_samples": whole(1, 100_000),
        "sigma": number(0, 1000, "pixels from 0 to 1000"),
        "rescale": FLAG,
    }

    adapter: str | Adapter | None = None
    text: Literal["dbscan", "mean"] = "dbscan"
    eps: float = 0.5
    min_samples: int = 15
    sigma: float = 8.0
    rescale: bool = True

    @property
    def map_range(self) -> tuple[float, float]:
        """Each block adds half a difference of two weighted cosines and, in SDP+, a probability."""
        if self.adapter is None:
            return (-float(len(QUARTERS)), float(len(QUARTERS)))
        layers = float(len(self.adapter_.params["layers"]))
        return (-layers, 2 * layers)

    @property
    def transductive(self) -> bool:
        """True if image scores depend on the other images scored."""
        return self.rescale

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Projected patch tokens of the staged stream, and class tokens of the ordinary one.

        With an adapter also raw patch tokens of the ordinary one. Always exact GELU, as in the
        authors' code.

        Raises:
            AdapterError: an adapter that does not fit the backbone.
        """
        layers = tuple(n for n in backbone.layers(QUARTERS) if isinstance(n, int))
        image_size = None
        if self.adapter is not None:
            self.adapter_ = load_adapter(self.adapter, "clip_ad", backbone)
            layers = tuple(self.adapter_.params["layers"])
            image_size = self.adapter_.params.get("image_size")
        ordinary = FeatureSpec(layers=layers, stream=Stream("next"))
        return FeatureSpec(
            layers=layers,
            patch_output="ln_post_proj",
            stream=Stream("vv", start="zero", restart=tuple(n + 1 for n in sorted(layers)[:-1])),
            further=(
                FeatureSpec(cls=layers, patch_output="ln_post_proj", stream=Stream("next")),
                *([ordinary] if self.adapter is not None else []),
            ),
            image_size=image_size,
            activation="gelu",
            text=TextSpec(activation="gelu"),
        )

    def sides(self, text: TextFeatures) -> torch.Tensor:
        """(2, D) representative vectors of both sides, of unit length."""
        if self.text == "mean":
            return side_vectors(text)
        return dense_sides(text, self.eps, self.min_samples)

    def logits(self, features: Features, sides: torch.Tensor) -> Logits:
        """How anomalous B images and their projected patches are; these are what is learned."""
        assert features.image is not None  # the spec asks for it
        patches = []
        for i, x in enumerate(features.further[1].patches.values()):
            projected = linear(x, self.adapter_.tensors, f"projections.{i}")
            patches.append(anomalous_logit(projected, sides, TEMPERATURE))
        return Logits(
            anomalous_logit(features.image, sides, TEMPERATURE), torch.stack(patches, dim=1)
        )

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images.

        Raises:
            HeadError: `text` is missing.
        """
        probability, anomaly_map = self.compare(features, text)
        blocks = len(features.patches)
        return Scores(probability + anomaly_map.flatten(1).amax(dim=1) / blocks, anomaly_map)

    def pool(self) -> ScaledPool:
        """A collector of images, to scale their scores together."""
        return ScaledPool(self)

    def compare(
        self, features: Features, text: TextFeatures | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) p(anomalous) of the image embedding, and (B, H, W) maps."""
        if text is None:
            raise HeadError("Head clip_ad compares images with prompts: give it a category.")
        assert features.image is not None  # the spec asks for it
        sides, grid, size = self.sides(text), features.grid, features.size
        responses = reduce(torch.add, responses_of(features, sides)).unflatten(1, grid)
        if self.adapter is None:
            image = anomalous_logit(features.image, sides, TEMPERATURE)
            return image.sigmoid(), upsample(responses, size, sigma=self.sigma)
        logits, total = self.logits(features, sides), upsample(responses, size)
        # block by block: all blocks of a batch at full size would set the memory peak
        for layer in logits.patches.split(1, dim=1):
            total = total + self.layer_maps(layer, grid, size)[:, 0]
        total = gaussian_blur(total, self.sigma) if self.sigma else total
        return logits.image.sigmoid(), total

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The sentences that speak for each side of a region's worst patch of the staged stream."""
        assert text is not None  # `score` refuses an image without
        vectors = torch.cat([x[0] for x in features.patches.values()])
        responses = torch.cat(responses_of(features, self.sides(text)))
        used = text if self.text == "mean" else dense_text(text, self.eps, self.min_samples)
        return [*of_worst_patches(vectors, responses, regions, used)]

    def together(self, probabilities: torch.Tensor, maxima: torch.Tensor) -> torch.Tensor:
        """(N,) scores of all images: the sum of both parts, each scaled over them."""
        return scale(probabilities) + scale(maxima)


def responses_of(features: Features, sides: torch.Tensor) -> list[torch.Tensor]:
    """(B, h·w) `surgery` of each block of the staged stream."""
    both = zip(features.patches.values(), features.further[0].cls.values(), strict=True)
    return [surgery(x, token, sides) for x, token in both]


def surgery(patches: torch.Tensor, classes: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
    """(B, h·w) response of the anomalous side, without what both sides share.

    Each side's cosine is weighted with its share in the softmax of the class token's cosines.

    Args:
        patches: (B, h·w, D) of one block.
        classes: (B, D) class tokens of that block.
        sides: (2, D) of unit length.
    """
    weights = 2 * (F.normalize(classes, dim=-1) @ sides.T).softmax(dim=-1)
    response = (F.normalize(patches, dim=-1) @ sides.T) * weights[:, None]
    return (response[..., 1] - response[..., 0]) / 2
