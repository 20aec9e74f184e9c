"""Tipsomaly (Salehi et al., ICASSP 2026, arXiv 2602.03594)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from vlad.adapters import load_adapter
from vlad.errors import HeadError
from vlad.heads.head import Trained
from vlad.heads.rules import ADAPTER
from vlad.heads.sentences import of_worst_patches
from vlad.maths.logits import Logits, anomalous_logit, side_vectors
from vlad.maths.maps import upsample
from vlad.prompts import load_bank
from vlad.types import BackboneInfo, Features, FeatureSpec, Reason, Scores, TextFeatures, TextSpec

SIGMA = 4.0
NOUN = "object"  # in the prompts with learned words


class Tipsomaly(Trained):
    """Fixed prompts about the category for the image score, learned ones about any for the map.

    The image score is p(anomalous) of the image embedding by the prompts of the bank, plus the
    maximum of the patches' p(anomalous) by the same prompts about an "object", before which learned
    words stand. Without an adapter, the prompts of the category serve for both, as in the authors'
    program without a checkpoint. Tokens are those of the last block, and the temperature is the
    backbone's.

    Args:
        adapter: the learned words, by name or path (see `vlad.adapters`).
    """

    bank = "tipsomaly"
    needs_adapter = False
    map_range = (0.0, 1.0)
    rules: ClassVar = {"adapter": ADAPTER}

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Patch tokens of the last block in the space of text, and the image embedding.

        Raises:
            AdapterError: an adapter that does not fit the backbone.
        """
        self.temperature_ = backbone.temperature
        params: Mapping = {}
        if self.adapter is not None:
            self.adapter_ = load_adapter(self.adapter, "tipsomaly", backbone)
            params = self.adapter_.params
        return FeatureSpec(
            layers=tuple(params.get("layers", (backbone.depth,))),
            patch_output="ln_post_proj",
            text=self.text_spec(),
            image_size=params.get("image_size"),
        )

    def text_spec(self) -> TextSpec | None:
        """How to embed the prompts about an object with the current learned words."""
        if self.adapter is None:
            return None
        tensors, prompts = self.adapter_.tensors, load_bank("tipsomaly").expand(NOUN)
        return TextSpec(
            context=(tensors["context.normal"], tensors["context.anomalous"]),
            phrases=(prompts.normal, prompts.anomalous),
        )

    def sides(self, text: TextFeatures) -> torch.Tensor:
        """(4, D): unit vectors of both sides for the image, then of both for the patches."""
        return torch.cat([side_vectors(text), side_vectors(text.learned or text)])

    def logits(self, features: Features, sides: torch.Tensor) -> Logits:
        """How anomalous B images and their patches are, given the vectors of `sides`."""
        assert features.image is not None  # the spec asks for it
        image, local = sides[..., :2, :], sides[..., 2:, :]
        each = [anomalous_logit(x, local, self.temperature_) for x in features.patches.values()]
        return Logits(
            anomalous_logit(features.image, image, self.temperature_), torch.stack(each, dim=1)
        )

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images; image scores lie in [0, 2].

        Raises:
            HeadError: `text` is missing.
        """
        if text is None:
            raise HeadError("Head tipsomaly compares images with prompts: give it a category.")
        logits = self.logits(features, self.sides(text))
        local = logits.patches.sigmoid()
        grid_map = local.mean(dim=1).unflatten(1, features.grid)
        return Scores(
            logits.image.sigmoid() + local.amax(dim=2).mean(dim=1),
            upsample(grid_map, features.size, sigma=SIGMA),
        )

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The sentences that speak for each side of a region's worst patch; none with an adapter.

        Patches are then compared with learned words alone.
        """
        assert text is not None  # `score` refuses an image without
        if self.adapter is not None:
            return [()] * len(regions)
        logits = self.logits(features, self.sides(text)).patches[0]
        vectors = torch.cat([x[0] for x in features.patches.values()])
        return [*of_worst_patches(vectors, logits, regions, text)]
