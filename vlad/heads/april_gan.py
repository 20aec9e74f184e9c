"""APRIL-GAN, winner of the VAND challenge (Chen et al., CVPR 2023 workshop, arXiv 2305.17382)."""

from __future__ import annotations

import torch

from vlad.adapters import load_adapter
from vlad.heads.block_sums import BlockSums
from vlad.heads.references import nearest_references
from vlad.heads.sentences import of_worst_patches
from vlad.maths.logits import Logits, anomalous_logit, side_vectors
from vlad.maths.networks import linear
from vlad.types import BackboneInfo, Features, FeatureSpec, Reason, TextFeatures, TextSpec

TEMPERATURE = 0.01


class AprilGAN(BlockSums):
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
    needs = ("april_gan", "prompts", "a category")

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
        each = enumerate(features.patches.values())
        return [linear(x, self.adapter_.tensors, f"projections.{i}") for i, x in each]
