"""SOWA (Hu and Zhang, 2024, arXiv 2407.03634)."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from vlad.adapters import load_adapter
from vlad.heads.block_sums import BlockSums
from vlad.heads.references import nearest_references
from vlad.maths.logits import Logits, anomalous_logit
from vlad.maths.window_attention import attend, position_bias, sides_of
from vlad.types import BackboneInfo, Features, FeatureSpec, Reason, TextFeatures, TextSpec

TEMPERATURE = 0.07  # of image scores; maps compare plain cosines
DROPOUT = 0.1  # of the attention, while training


class SOWA(BlockSums):
    """Patches attend to each other in windows before they are compared with learned prompts.

    The patches of each of several blocks go through an adapter: value-value attention within
    windows by the backbone's own frozen maps of that block, then a linear layer. Learned words
    precede "object." and "damaged object.", and a linear layer follows the text encoder. Zero-shot,
    the image score is p(anomalous) of the image embedding and the map is the sum over blocks of
    that of the patches. After `fit`, cosine distances to the nearest reference patch are added to
    the map, and the image score becomes the mean of p and the maximum of the map.

    Where the authors' code departs from the paper, this follows the code: maps have no temperature,
    and references are compared before the adapter, without smoothing.

    Args:
        adapter: the learned tensors, by name or path (see `vlad.adapters`).
        rescale: whether to scale the maxima of the maps to [0, 1] over all images scored together
            before they enter the image score, as the authors' code does. This makes the fitted head
            transductive; without it, images are scored independently.
    """

    bank = "anomalyclip"  # the same two sentences
    needs = ("sowa", "its learned prompts", "text")
    sigma = 4.0

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Raw patch tokens of the adapter's layers, and the frozen maps of their attention.

        Raises:
            AdapterError: no adapter, or one that does not fit the backbone.
        """
        self.adapter_ = load_adapter(self.adapter, "sowa", backbone)
        layers = tuple(self.adapter_.params["layers"])
        return FeatureSpec(
            layers=layers,
            weights=layers,
            image_size=self.adapter_.params.get("image_size"),
            activation="quick_gelu",
            text=self.text_spec(),
        )

    def text_spec(self) -> TextSpec:
        """How to embed the prompts with the current learned words."""
        tensors = self.adapter_.tensors
        return TextSpec(
            activation="quick_gelu",
            context=(tensors["context.normal"], tensors["context.anomalous"]),
        )

    def sides(self, text: TextFeatures) -> torch.Tensor:
        """(2, D) unit vectors of both sides, after the learned linear layer."""
        means = [rows.mean(dim=-2) for rows in (text.normal, text.anomalous)]
        both = torch.stack(means, dim=-2)
        return F.normalize(F.linear(both, *self._pair("text", both)), dim=-1)

    def logits(self, features: Features, sides: torch.Tensor) -> Logits:
        """How anomalous B images and their patches are, given the vectors of `sides`."""
        assert features.image is not None  # the spec asks for it
        patches = []
        for i, (block, x) in enumerate(features.patches.items()):
            adapted = project(self.adapted(i, block, x, features), features)
            patches.append(anomalous_logit(adapted, sides, 1.0))
        image = anomalous_logit(features.image, sides, TEMPERATURE)
        return Logits(image, torch.stack(patches, dim=1))

    def adapted(self, i: int, block: object, x: torch.Tensor, features: Features) -> torch.Tensor:
        """(B, h·w, C) raw patch tokens of a block after the adapter number `i`."""
        name, tensors = f"windows.{i}", self.adapter_.tensors
        sides = sides_of(features.grid, self.adapter_.params["window"])
        weight, bias = self._pair(f"{name}.position.0", x)
        mixed = attend(
            F.linear(x, features.weights[f"value.{block}.weight"]),
            features.grid,
            sides,
            tensors[f"{name}.scale"].to(x),
            position_bias(sides, (weight, bias), tensors[f"{name}.position.2.weight"].to(x)),
            DROPOUT if self.training else 0.0,
        )
        out = (features.weights[f"out.{block}.{part}"] for part in ("weight", "bias"))
        x = x + self._norm(f"{name}.norm_1", F.linear(mixed, *out))
        return x + self._norm(f"{name}.norm_2", F.linear(x, tensors[f"{name}.linear.weight"].to(x)))

    def compared(self, features: Features) -> Features:
        """With the raw patch tokens projected into the joint space."""
        patches = {n: project(x, features) for n, x in features.patches.items()}
        return replace(features, patches=patches)

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """With references, the one nearest to a region's worst patch; learned words say nothing."""
        assert text is not None  # `score` refuses an image without
        worst = self.logits(features, self.sides(text)).patches[0].sigmoid().sum(dim=0)
        empty: list[tuple[Reason, ...]] = [()] * len(regions)
        return nearest_references(self.compared(features), self.memory_, worst, regions, empty)

    def _pair(self, name: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tensors = self.adapter_.tensors
        return tensors[f"{name}.weight"].to(x), tensors[f"{name}.bias"].to(x)

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], *self._pair(name, x))


def project(x: torch.Tensor, features: Features) -> torch.Tensor:
    """(..., C) raw patch tokens -> (..., D), by the backbone's projection alone."""
    return F.linear(x, features.weights["proj.weight"], features.weights["proj.bias"])
