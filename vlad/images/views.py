"""Further views of a reference image that also count as normal."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image


def rotations(image: Image.Image, count: int) -> list[Image.Image]:
    """`count` views of an RGB image, rotated by multiples of 360°/count; the first is itself."""
    return [image, *(rotate(image, 360 * n / count) for n in range(1, count))]


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
