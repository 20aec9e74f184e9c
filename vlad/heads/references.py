"""The patch tokens of normal images, kept layer by layer, and the distances to them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from vlad.maths.neighbours import nearest_cosine
from vlad.types import Features


def remembered(features: Features) -> dict[str, torch.Tensor]:
    """Layer -> (N, C) patch tokens of all images."""
    return {str(layer): x.flatten(0, 1) for layer, x in features.patches.items()}


def layer_distances(features: Features, known: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """(B, h·w) cosine distances to the nearest patch in `remembered`, for each layer."""
    return [nearest_cosine(x, known[str(layer)]) for layer, x in features.patches.items()]
