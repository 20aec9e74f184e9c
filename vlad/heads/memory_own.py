"""How distances inside an image are brought to the scale of those to reference images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vlad.errors import HeadError
from vlad.heads.memory_layer import Layer
from vlad.heads.self_reference import RANK, unlikeness

MOST = 8  # reference images that are compared with all others


def own_scale(layers: Sequence[Layer], views: int, name: str) -> float:
    """Deviation of distances between reference images over that of distances inside them.

    Up to 8 evenly spaced images are each compared with all others, views of their own left out.

    Args:
        layers: that remember images on a grid.
        views: of each image, the first one itself.
        name: of the head that asks.

    Raises:
        HeadError: a single image.
    """
    grid = layers[0].grid
    assert grid  # whoever weighs images knows their grid
    count = len(layers[0].source) // (views * grid[0] * grid[1])
    if count < 2:
        raise HeadError(
            f"Head {name}: `self_reference` is scaled by how reference images differ, but there is "
            "one; give two or more."
        )
    kept = [i * count // min(count, MOST) for i in range(min(count, MOST))]
    found = [[layer.left_out(i, views) for i in kept] for layer in layers]
    apart = torch.stack([torch.cat([x for _, x in one]) for one in found]).mean(dim=0)
    inside = unlikeness([torch.cat([x for x, _ in one]) for one in found], RANK, name)
    # images of equal patches tell nothing
    return (apart.std() / inside.std()).item() if inside.std() > 0 else 0.0
