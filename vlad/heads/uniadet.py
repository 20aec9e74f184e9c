"""UniADet (Gao and Wang, 2026, arXiv 2601.05552)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.adapters import Adapter, load_adapter
from vlad.adapters.shapes import compares_joint
from vlad.heads.head import Trained
from vlad.heads.references import layer_distances, nearest_references, remembered
from vlad.heads.rules import ADAPTER, FLAG
from vlad.maths.logits import Logits, anomalous_logit
from vlad.maths.maps import upsample
from vlad.types import BackboneInfo, Features, FeatureSpec, Reason, Scores, TextFeatures

TEMPERATURE = 0.07
SIGMA = 4.0


class UniADet(Trained):
    """Learned normal and anomalous vectors for each block, apart for image and patches; no text.

    The class token of each block is compared with two vectors, its patch tokens with two others.
    The image score is the mean over blocks of p(anomalous) of the class token, the map that of the
    patch tokens. After `fit`, the map is averaged with the cosine distances to the nearest
    reference patch, and the image score with the maximum of that map.

    The authors describe the method but have released no code; what they leave open is our reading,
    listed on the head's page.

    Args:
        adapter: the learned vectors, by name or path (see `vlad.adapters`).
        maximum: whether the image score is averaged with the maximum of the map without references
            too.
    """

    normals = "optional"
    additive = True
    rules: ClassVar = {"adapter": ADAPTER, "maximum": FLAG}

    def __init__(self, adapter: str | Adapter | None = None, maximum: bool = False):
        self.adapter = adapter
        self.maximum = maximum

    @property
    def map_range(self) -> tuple[float, float]:
        """A probability, or its mean with a distance of at most 2."""
        return (0.0, 1.5 if self.fitted else 1.0)

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Class and patch tokens of the adapter's layers, in the space of the image embedding.

        They stay raw if the backbone's blocks differ in width or it names layers to compare.

        Raises:
            AdapterError: no adapter, or one that does not fit the backbone.
        """
        self.adapter_ = load_adapter(self.adapter, "uniadet", backbone)
        layers = tuple(self.adapter_.params["layers"])
        return FeatureSpec(
            layers=layers,
            cls=layers,
            patch_output="ln_post_proj" if compares_joint(backbone) else "raw",
            image=False,
            image_size=self.adapter_.params.get("image_size"),
        )

    def logits(self, features: Features, sides: torch.Tensor | None = None) -> Logits:
        """How anomalous B images and their patches are, by each block; `sides` is ignored."""
        return Logits(
            self._compare("image", features.cls.values()),
            self._compare("patches", features.patches.values()),
        )

    def fit(self, features: Features) -> UniADet:
        """Remember the patches of normal images."""
        self.memory_ = remembered(features)
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images: in [0, 1], with references in [0, 1.25]."""
        logits = self.logits(features)
        grid_map = self._cells(logits, features)
        # the mean of enlarged maps is the enlarged mean
        whole = upsample(grid_map.unflatten(1, features.grid), features.size, sigma=SIGMA)
        score = logits.image.sigmoid().mean(dim=1)
        if self.fitted or self.maximum:
            score = (score + whole.flatten(1).amax(dim=1)) / 2
        return Scores(score, whole)

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """With references, the one nearest to a region's worst patch; its vectors have no words."""
        found = self._cells(self.logits(features), features)[0]
        empty: list[tuple[Reason, ...]] = [()] * len(regions)
        return nearest_references(features, self.memory_, found, regions, empty)

    def _cells(self, logits: Logits, features: Features) -> torch.Tensor:
        """(B, h·w) values of the map before it is enlarged."""
        found = logits.patches.sigmoid().mean(dim=1)
        if not self.fitted:
            return found
        distances = torch.stack(layer_distances(features, self.memory_))
        return (found + distances.mean(dim=0)) / 2

    def _compare(self, task: str, tokens: Iterable[torch.Tensor]) -> torch.Tensor:
        """(B, L) or (B, L, h·w) logits of the tokens of L blocks, each by its own two vectors."""
        tensors = self.adapter_.tensors
        each = [
            anomalous_logit(x, F.normalize(tensors[f"{task}.{i}"].to(x), dim=-1), TEMPERATURE)
            for i, x in enumerate(tokens)
        ]
        return torch.stack(each, dim=1)
