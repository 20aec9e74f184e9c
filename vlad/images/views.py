"""Changed images: rotated ones, and views of the input of the backbone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image


def rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Counter-clockwise rotation of an RGB image at its own size, bilinear, edges mirrored."""
    width, height = image.size
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    y, x = np.mgrid[0:height, 0:width] - np.array([height / 2, width / 2]).reshape(2, 1, 1)
    source_x, source_y = cos * x - sin * y + width / 2, sin * x + cos * y + height / 2
    # grid_sample ranges from -1 to 1 between the centres of the outermost pixels
    span = np.array([max(width - 1, 1), max(height - 1, 1)])
    grid = torch.from_numpy(2 * np.stack([source_x, source_y], axis=-1) / span - 1)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    turned = F.grid_sample(
        pixels.to(grid), grid[None], padding_mode="reflection", align_corners=True
    )
    return Image.fromarray(turned[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy())


# multiples of π, and shares of half a side, as AnoVL has them
ANGLES = (-1 / 4, -3 / 16, -1 / 8, -1 / 16, 1 / 16, 1 / 8, 3 / 16, 1 / 4)
SHIFTS = (0.2, 0.1)
CORNERS = ((1, 1), (-1, 1), (-1, -1), (1, -1))
GREY = (0.299, 0.587, 0.114)


def altered(pixels: torch.Tensor, align_corners: bool = True) -> Iterator[torch.Tensor]:
    """22 views (B, 3, H, W) of images of that shape, quarter turns (B, 3, W, H), one by one.

    The images themselves, 8 small rotations, 8 shifts, mirrored, grey, and three quarter turns
    (AnoVL, arXiv 2308.15939). What rotations and shifts leave empty is mirrored at the border.

    Args:
        align_corners: whether -1 and 1 are the centres of the outermost pixels, as AnoVL has it, or
            their outer edges, as INP-Former has it (arXiv 2503.02424).
    """
    yield pixels
    for part in ANGLES:
        cos, sin = math.cos(math.pi * part), math.sin(math.pi * part)
        yield _warp(pixels, [[cos, -sin, 0.0], [sin, cos, 0.0]], align_corners)
    for shift in SHIFTS:
        for x, y in CORNERS:
            yield _warp(pixels, [[1.0, 0.0, shift * x], [0.0, 1.0, shift * y]], align_corners)
    yield pixels.flip(-1)
    weights = torch.tensor(GREY).to(pixels, non_blocking=True)[:, None, None]
    yield (pixels * weights).sum(dim=1, keepdim=True).expand_as(pixels)
    for turns in (1, 2, 3):
        yield pixels.rot90(turns, (-2, -1))


def _warp(pixels: torch.Tensor, matrix: list[list[float]], align_corners: bool) -> torch.Tensor:
    """What an affine map from places of the view to places of the input gives, bilinear."""
    maps = torch.tensor(matrix).to(pixels, non_blocking=True).expand(len(pixels), -1, -1)
    grid = F.affine_grid(maps, list(pixels.shape), align_corners=align_corners)
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=align_corners)
