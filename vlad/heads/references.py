"""The patch tokens of normal images, kept layer by layer, and the distances to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F

from vlad.maths.neighbours import nearest_cosine
from vlad.maths.parts import worst_cells
from vlad.types import Features, NearestPatch, Reason


def remembered(features: Features) -> dict[str, torch.Tensor]:
    """Layer -> (N, C) patch tokens of all images."""
    return {str(layer): x.flatten(0, 1) for layer, x in features.patches.items()}


def unit_rows(features: Features) -> dict[str, torch.Tensor]:
    """The same, of unit length."""
    return {layer: F.normalize(rows, dim=-1) for layer, rows in remembered(features).items()}


def layer_distances(features: Features, known: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """(B, h·w) cosine distances to the nearest patch in `remembered`, for each layer."""
    return [nearest_cosine(x, known[str(layer)]) for layer, x in features.patches.items()]


def nearest_references(
    features: Features,
    known: Mapping[str, torch.Tensor],
    values: torch.Tensor,
    regions: torch.Tensor,
    before: Iterable[tuple[Reason, ...]],
) -> list[tuple[Reason, ...]]:
    """The reasons of each region, and after these the reference patch nearest to its worst patch.

    That is the nearest by the mean cosine distance over layers; maps take the nearest of each.

    Args:
        features: of one image.
        known: from `remembered`; empty without references, which adds nothing.
        values: (h·w,), how anomalous each patch is.
        regions: (R, h·w) bool.
        before: what there is to say without references.
    """
    if not known:
        return [*before]
    found: list[tuple[Reason, ...]] = []
    for reasons, at in zip(before, worst_cells(values, regions).tolist(), strict=True):
        rows = [(x[0, at], known[str(layer)]) for layer, x in features.patches.items()]
        each = [1 - F.normalize(y, dim=-1) @ F.normalize(x, dim=-1) for x, y in rows]
        mean = torch.stack(each).mean(dim=0)
        nearest = int(mean.argmin())
        image, place = divmod(nearest, features.grid[0] * features.grid[1])
        cell, patch = divmod(place, features.grid[1]), divmod(at, features.grid[1])
        distance = mean[nearest].clamp_min(0).item()
        found.append((*reasons, NearestPatch(image, 0, cell, distance, None, patch)))
    return found
