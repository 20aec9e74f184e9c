"""SOWA (Hu and Zhang, 2024, arXiv 2407.03634)."""

from __future__ import annotations

from dataclasses import replace
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
from vlad.maths.logits import Logits, anomalous_logit
from vlad.maths.maps import enlarge, gaussian_blur, upsample
from vlad.maths.rescore import scale
from vlad.maths.window_attention import attend, position_bias, sides_of
from vlad.types import BackboneInfo, Features, FeatureSpec, Reason, Scores, TextFeatures, TextSpec

TEMPERATURE = 0.07  # of image scores; maps compare plain cosines
SIGMA = 4.0
DROPOUT = 0.1  # of the attention, while training


class SOWA(Trained):
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

    def layer_maps(
        self, patches: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> torch.Tensor:
        """(B, L, h·w) logits -> (B, L, H, W) probabilities; the logits are enlarged."""
        return enlarge(patches, grid, size, align_corners=True).sigmoid()

    def fit(self, features: Features) -> SOWA:
        """Remember the patches of normal images in the joint space."""
        self.memory_ = remembered(_projected(features))
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

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """With references, the one nearest to a region's worst patch; learned words say nothing."""
        assert text is not None  # `score` refuses an image without
        worst = self.logits(features, self.sides(text)).patches[0].sigmoid().sum(dim=0)
        empty: list[tuple[Reason, ...]] = [()] * len(regions)
        return nearest_references(_projected(features), self.memory_, worst, regions, empty)

    def pool(self) -> ScaledPool:
        """A collector of images, to scale their maxima together."""
        return ScaledPool(self)

    def compare(
        self, features: Features, text: TextFeatures | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) probabilities from the prompts, and (B, H, W) maps."""
        if text is None:
            raise HeadError("Head sowa compares images with its learned prompts: give it text.")
        logits = self.logits(features, self.sides(text))
        grid, size = features.grid, features.size
        # block by block: all blocks of a batch at full size would set the memory peak
        each = (self.layer_maps(x, grid, size)[:, 0] for x in logits.patches.split(1, dim=1))
        total = gaussian_blur(reduce(torch.add, each), SIGMA)
        if self.fitted:
            distance = reduce(torch.add, layer_distances(_projected(features), self.memory_))
            total = total + upsample(distance.unflatten(1, grid), size, align_corners=True)
        return logits.image.sigmoid(), total

    def together(self, probabilities: torch.Tensor, maxima: torch.Tensor) -> torch.Tensor:
        """(N,) scores of all images: the mean of probability and scaled maximum."""
        return (probabilities + scale(maxima)) / 2

    def _pair(self, name: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tensors = self.adapter_.tensors
        return tensors[f"{name}.weight"].to(x), tensors[f"{name}.bias"].to(x)

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], *self._pair(name, x))


def project(x: torch.Tensor, features: Features) -> torch.Tensor:
    """(..., C) raw patch tokens -> (..., D), by the backbone's projection alone."""
    return F.linear(x, features.weights["proj.weight"], features.weights["proj.bias"])


def _projected(features: Features) -> Features:
    """The same with all patch tokens projected."""
    patches = {n: project(x, features) for n, x in features.patches.items()}
    return replace(features, patches=patches)
