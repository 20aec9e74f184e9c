"""The expert of Anomaly-OV, LTFM (Xu et al., CVPR 2025, arXiv 2502.07601)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.adapters import Adapter, load_adapter
from vlad.heads.head import Head
from vlad.heads.rules import ADAPTER, FLAG
from vlad.maths.maps import upsample
from vlad.maths.networks import linear
from vlad.types import BackboneInfo, Crops, Features, FeatureSpec, Scores, TextFeatures

TEMPERATURE = 0.01  # of the cosines of tokens with the two learned vectors
FLOOR = 1e-30  # of what marks a patch; a softmax can be 0 in all of an image
LOOKS = 2  # places a side that are looked at twice in each crop


class AnomalyOV(Head):
    """Learned vectors of both sides mark suspicious patches, which are then looked at twice.

    Two learned vectors, adapted to the image by a summary of its patch tokens, are compared with
    the tokens of four blocks. What they mark is pooled to a few queries, which attend to the tokens
    of their crop; a small network judges the mean of what they find over all crops.

    The whole image is the first crop; the others are tiles of it at a higher resolution. The map is
    that of the whole image, averaged with those of the tiles at their places.

    Args:
        adapter: the learned tensors, by name or path (see `vlad.adapters`).
        crops: whether tiles are read too; each costs a pass of the backbone.
    """

    adapter_: Adapter
    needs_adapter = True
    map_range = (0.0, 1.0)
    rules: ClassVar = {"adapter": ADAPTER, "crops": FLAG}

    def __init__(self, adapter: str | Adapter | None = None, crops: bool = True):
        self.adapter = adapter
        self.crops = crops

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Raw patch tokens of the adapter's blocks, and of the last block but one.

        Raises:
            AdapterError: no adapter, or one that does not fit the backbone.
        """
        self.adapter_ = load_adapter(self.adapter, "anomalyov", backbone)
        self.layers_ = tuple(self.adapter_.params["layers"])
        self.last_ = max(1, backbone.depth - 1)
        layers = dict.fromkeys((*self.layers_, self.last_))
        return FeatureSpec(layers=tuple(layers), image=False, crops=self.crops)

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, in [0, 1]."""
        last = features.patches[self.last_]
        tensors = {name: x.to(last) for name, x in self.adapter_.tensors.items()}
        each = [self._one(features.at(i), tensors) for i in range(len(last))]
        scores, maps = zip(*each, strict=True)
        return Scores(torch.stack(scores), torch.stack(maps))

    def _one(
        self, whole: Features, tensors: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score and (H, W) map of one image."""
        crops = whole.crops[0] if whole.crops else None
        parts = [whole.patches, *([crops.features.patches] if crops else [])]
        levels = [torch.cat([x[layer] for x in parts]) for layer in self.layers_]
        last = torch.cat([x[self.last_] for x in parts])
        marks = significance(levels, last[0], whole.grid, tensors)
        _, score = judgement(last, marks, whole.grid, tensors)
        found = upsample(marks[:1].unflatten(1, whole.grid), whole.size)[0]
        if crops:
            found = (found + placed(marks[1:].unflatten(1, whole.grid), crops, whole.size)) / 2
        return score, found


def network(name: str, x: torch.Tensor, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return linear(F.gelu(linear(x, tensors, f"{name}.0")), tensors, f"{name}.2")


def significance(
    levels: list[torch.Tensor],
    whole: torch.Tensor,
    grid: tuple[int, int],
    tensors: Mapping[str, torch.Tensor],
) -> torch.Tensor:
    """How suspicious the patches of the crops of one image are, mean over the levels.

    Args:
        levels: each (n, h·w, C), the tokens of a block.
        whole: (h·w, C) tokens of the last block but one, of the whole image.

    Returns:
        (n, h·w), in [0, 1].
    """
    summary = F.linear(whole.T, position_weights(grid, tensors), tensors["positions.bias"])[:, 0]
    summary = network("summary", summary, tensors)
    sides = torch.stack([tensors["embedding.normal"], tensors["embedding.anomalous"]])
    sides = torch.cat([sides, summary.expand(2, -1)], dim=1)
    found = []
    for i, x in enumerate(levels):
        compared = F.normalize(linear(sides, tensors, f"sides.{i}"), dim=-1)
        tokens = F.normalize(linear(x, tensors, f"tokens.{i}"), dim=-1)
        found.append((tokens @ compared.T / TEMPERATURE).softmax(dim=-1)[..., 1])
    return torch.stack(found).mean(dim=0)


def position_weights(grid: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(1, h·w) weights of the places in the summary, resized to a grid with their sum kept."""
    weights = tensors["positions.weight"]
    side = math.isqrt(weights.shape[1])
    if grid == (side, side):
        return weights
    shaped = weights.reshape(1, 1, side, side)
    resized = F.interpolate(shaped, grid, mode="bilinear", antialias=True, align_corners=False)
    return resized.flatten(2)[0] * (side * side / (grid[0] * grid[1]))


def judgement(
    x: torch.Tensor,
    marks: torch.Tensor,
    grid: tuple[int, int],
    tensors: Mapping[str, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of n crops that were looked at twice (n, 4, C), and the score of the image ().

    Args:
        x: (n, h·w, C) tokens of the last block but one.
        marks: (n, h·w) how suspicious they are.
    """

    def pooled(values: torch.Tensor) -> torch.Tensor:
        """(n, h·w, K) -> (n, 4, K): the mean over each place."""
        shaped = values.transpose(1, 2).unflatten(2, grid)
        return F.adaptive_avg_pool2d(shaped, LOOKS).flatten(2).transpose(1, 2)

    marks = marks.clamp_min(FLOOR)
    weights = pooled(marks[..., None])
    queries = linear(pooled(x * marks[..., None]) / weights, tensors, "query")
    keys = linear(x, tensors, "key")
    looked = (queries @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5).softmax(dim=-1) @ x
    suspicious = marks.mean(dim=1)
    weights = weights * (suspicious / suspicious.max())[:, None, None]
    image = (looked * weights).sum(dim=(0, 1)) / weights.sum(dim=(0, 1))
    return looked, network("score", image, tensors).sigmoid()[0]


def placed(marks: torch.Tensor, crops: Crops, size: tuple[int, int]) -> torch.Tensor:
    """(n, h, w) values of the tiles of an image -> its (H, W) map.

    Tiles are enlarged to their pixels and joined; what was added around the image is cut off.
    """
    joined = marks.unflatten(0, crops.layout).transpose(1, 2).flatten(2).flatten(0, 1)
    (rows, columns), (height, width) = crops.layout, crops.features.size
    full = upsample(joined[None], (rows * height, columns * width))
    (top, bottom), (left, right) = crops.inside
    return upsample(full[:, top:bottom, left:right], size)[0]
