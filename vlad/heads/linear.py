"""Two learned vectors and no text: the lightest trained head."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.adapters import Adapter, load_adapter
from vlad.heads.head import Trained
from vlad.heads.rules import ADAPTER
from vlad.maths.logits import Logits, anomalous_logit
from vlad.maths.maps import enlarge, gaussian_blur, top_mean
from vlad.types import BackboneInfo, Features, FeatureSpec, Scores, TextFeatures

TEMPERATURE = 0.07
SIGMA = 4.0
TOP = 0.01  # share of the map's pixels whose mean is the image score
TOP_PATCHES = 0.03  # share of the patches that represent an image without a mask in training


class Linear(Trained):
    """Patches of several blocks, projected and compared with a normal and an anomalous vector.

    Like APRIL-GAN with learned vectors instead of text embeddings, so it also works on backbones
    without text. Patch tokens are first standardised to mean 0 and variance 1, so the optimiser
    sees every backbone alike. The map is the mean over blocks of p(anomalous), the image score the
    mean of its highest 1 %. The image embedding is not used: vectors learned for it separate the
    auxiliary data sets, not the defects in them. Instead, the label of an image is learned from its
    most anomalous patches, as in multiple-instance learning.

    Args:
        adapter: the learned tensors, by name or path (see `vlad.adapters`).
    """

    map_range = (0.0, 1.0)
    rules: ClassVar = {"adapter": ADAPTER}

    def __init__(self, adapter: str | Adapter | None = None):
        self.adapter = adapter

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Raw patch tokens of the adapter's layers.

        Raises:
            AdapterError: no adapter, or one that does not fit the backbone.
        """
        self.adapter_ = load_adapter(self.adapter, "linear", backbone)
        return FeatureSpec(
            layers=tuple(self.adapter_.params["layers"]),
            image_size=self.adapter_.params.get("image_size"),
        )

    def logits(self, features: Features, sides: torch.Tensor | None = None) -> Logits:
        """How anomalous B images and their patches are; `sides` is ignored."""
        patches = []
        for i, x in enumerate(features.patches.values()):
            x = F.layer_norm(x, x.shape[-1:])
            weight, bias = (self._get(f"projections.{i}.{part}", x) for part in ("weight", "bias"))
            x = F.linear(x, weight, bias)
            patches.append(anomalous_logit(x, self._sides(x), TEMPERATURE))
        found = torch.stack(patches, dim=1)
        return Logits(top_mean(found.mean(dim=1), TOP_PATCHES), found)

    def layer_maps(
        self, patches: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> torch.Tensor:
        """(B, L, h·w) logits -> (B, L, H, W) probabilities; the logits are enlarged."""
        return enlarge(patches, grid, size).sigmoid()

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, in [0, 1]."""
        logits = self.logits(features)
        maps = self.layer_maps(logits.patches, features.grid, features.size)
        anomaly_map = gaussian_blur(maps.mean(dim=1), SIGMA)
        return Scores(top_mean(anomaly_map.flatten(1), TOP), anomaly_map)

    def _get(self, name: str, like: torch.Tensor) -> torch.Tensor:
        return self.adapter_.tensors[name].to(like)

    def _sides(self, like: torch.Tensor) -> torch.Tensor:
        """(2, dims) unit vectors of the normal and anomalous sides."""
        both = [self._get(side, like) for side in ("normal", "anomalous")]
        return F.normalize(torch.stack(both), dim=-1)
