"""Which reference images the head memory compares an image with."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from vlad.heads.memory_gather import IMAGES, check_grid, grid_of
from vlad.types import Features

if TYPE_CHECKING:
    from vlad.heads.memory import Memory


def chosen_images(head: Memory, features: Features) -> torch.Tensor | None:
    """(B, k) reference images that each image is compared with; None is all.

    Raises:
        HeadError: another grid of patches than that of the reference images.
    """
    check_grid(head, grid_of(head.memory_), features.grid)
    if head.nearest_images is None:
        return None
    known = head.memory_[IMAGES]
    if head.nearest_images >= len(known):
        if head.nearest_images > len(known):
            warnings.warn(
                f"Head {head.name}: nearest_images is {head.nearest_images}, but it remembers "
                f"{len(known)} images (each view is one) and compares with all of them.",
                stacklevel=3,
            )
        return None
    assert features.image is not None  # the spec asks for it
    cosine = F.normalize(features.image, dim=-1) @ F.normalize(known, dim=-1).T
    return cosine.topk(head.nearest_images, dim=1).indices
