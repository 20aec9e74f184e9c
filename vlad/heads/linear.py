"""Two learned vectors a scale and no words: the lightest head that is trained."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from vlad.adapters import load_adapter
from vlad.heads import check_params, in_range
from vlad.maps import enlarge, gaussian_blur, top_mean
from vlad.similarity import Logits, anomalous_logit
from vlad.types import Features, FeatureSpec, Scores, TextFeatures, TowerInfo

TEMPERATURE = 0.07
SIGMA = 4.0
TOP = 0.01  # share of the map's pixels whose mean speaks for the picture


class Linear:
    """Patches of several blocks, projected and compared with a normal and an anomalous vector.

    As APRIL-GAN with learned vectors in place of embedded words, so that it works on towers
    without text too. Patch tokens are brought to mean 0 and variance 1 first, which makes towers
    alike to the optimiser. The map is the mean over blocks of p(anomalous). The image score mixes
    the mean of the highest hundredth of the map with p(anomalous) of the image embedding against
    two further vectors: small defects hardly move the embedding, and logical ones no patch.

    Args:
        adapter: the learned tensors, by name or path (see `vlad.adapters`).
        image_weight: share of the image embedding in the image score; the rest is the map's.
    """

    bank = None
    normals = "unused"
    map_range = (0.0, 1.0)

    def __init__(self, adapter: str | None = None, image_weight: float = 0.5):
        self.adapter = adapter
        self.image_weight = image_weight

    def spec(self, tower: TowerInfo) -> FeatureSpec:
        """Raw patch tokens of the adapter's layers.

        Raises:
            AdapterError: no adapter, or one that does not fit the tower.
            HeadError: a parameter out of its range.
        """
        rule = (in_range(self.image_weight, 0, 1), "a number from 0 to 1")
        check_params(self, {"image_weight": rule})
        self.adapter_ = load_adapter(self.adapter, "linear", tower)
        return FeatureSpec(
            layers=tuple(self.adapter_.params["layers"]),
            image_size=self.adapter_.params.get("image_size"),
        )

    def logits(self, features: Features, sides: torch.Tensor | None = None) -> Logits:
        """How anomalous B pictures and their patches are; `sides` is what other heads read."""
        patches = []
        for i, x in enumerate(features.patches.values()):
            x = F.layer_norm(x, x.shape[-1:])
            weight, bias = (self._get(f"projections.{i}.{part}", x) for part in ("weight", "bias"))
            x = F.linear(x, weight, bias)
            patches.append(anomalous_logit(x, self._sides("patches", x), TEMPERATURE))
        image = features.image
        return Logits(
            anomalous_logit(image, self._sides("image", image), TEMPERATURE),
            torch.stack(patches, dim=1),
        )

    def layer_maps(
        self, patches: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> torch.Tensor:
        """(B, L, h·w) logits -> (B, L, H, W) probabilities; it is the logits that are enlarged."""
        return enlarge(patches, grid, size).sigmoid()

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B pictures, in [0, 1]."""
        logits = self.logits(features)
        maps = self.layer_maps(logits.patches, features.grid, features.size)
        anomaly_map = gaussian_blur(maps.mean(dim=1), SIGMA)
        top = top_mean(anomaly_map.flatten(1), TOP)
        image = self.image_weight * logits.image.sigmoid() + (1 - self.image_weight) * top
        return Scores(image, anomaly_map)

    def _get(self, name: str, like: torch.Tensor) -> torch.Tensor:
        return self.adapter_.tensors[name].to(like)

    def _sides(self, what: str, like: torch.Tensor) -> torch.Tensor:
        """(2, D) unit vectors of the normal and the anomalous side."""
        both = [self._get(f"{what}.{side}", like) for side in ("normal", "anomalous")]
        return F.normalize(torch.stack(both), dim=-1)
