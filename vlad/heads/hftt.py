"""HFTT (Lee et al., NeurIPS 2024, arXiv 2409.19840)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.adapters import load_adapter
from vlad.heads.head import Trained
from vlad.heads.rules import ADAPTER
from vlad.maths.logits import Logits
from vlad.maths.maps import upsample
from vlad.types import BackboneInfo, Features, FeatureSpec, Scores, TextFeatures

SIGMA = 4.0  # of the Gaussian that smooths the map, in pixels


class HFTT(Trained):
    """Vectors learned from texts alone stand for all that is none of the named categories.

    The adapter holds one vector for each category, the mean of its normal sentences, and learned
    ones for everything else. The image score is the share of the learned vectors in a softmax of
    the cosines with all of them.

    The authors' program has no map. That of this head is vlad's own: patch tokens of the last
    block, projected into the space of text, scored in the same way.

    Args:
        adapter: the vectors, by name or path (see `vlad.adapters`).
    """

    map_range = (0.0, 1.0)
    rules: ClassVar = {"adapter": ADAPTER}

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """The image embedding, and the patch tokens of the last block in the space of text.

        Raises:
            AdapterError: no adapter, or one that does not fit the backbone.
        """
        self.temperature_ = backbone.temperature
        self.adapter_ = load_adapter(self.adapter, "hftt", backbone)
        return FeatureSpec(
            layers=tuple(self.adapter_.params["layers"]), patch_output="ln_post_proj"
        )

    def logits(self, features: Features, sides: torch.Tensor | None = None) -> Logits:
        """How foreign B images and their patches are; `sides` is ignored."""
        assert features.image is not None  # the spec asks for it
        task, learned = (
            self.adapter_.tensors[name].to(features.image) for name in ("task", "learned")
        )
        patches = [
            foreign_logit(x, task, learned, self.temperature_) for x in features.patches.values()
        ]
        return Logits(
            foreign_logit(features.image, task, learned, self.temperature_),
            torch.stack(patches, dim=1),
        )

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, in [0, 1]."""
        logits = self.logits(features)
        grid_map = logits.patches.sigmoid().mean(dim=1).unflatten(1, features.grid)
        full = upsample(grid_map, features.size, sigma=SIGMA)
        return Scores(logits.image.sigmoid(), full)


def foreign_logit(
    x: torch.Tensor, task: torch.Tensor, learned: torch.Tensor, temperature: float
) -> torch.Tensor:
    """(...) logit of the learned vectors' share in a softmax of cosine / temperature.

    Args:
        x: (..., D), of any length.
        task: (C, D) of unit length.
        learned: (K, D), of any length.
    """
    x = F.normalize(x, dim=-1) / temperature
    inside, outside = ((x @ y.T).logsumexp(dim=-1) for y in (task, F.normalize(learned, dim=-1)))
    return outside - inside
