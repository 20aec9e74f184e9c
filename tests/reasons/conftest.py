"""Panels on the small backbone, and images whose defect is known."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vlad.heads import load_head
from vlad.scoring.panel import Panel


def object_image(seed: int, *, spot: bool = False) -> Image.Image:
    """A grey image with noise; a spot is red, in the upper right."""
    noise = np.random.default_rng(seed).integers(100, 140, (96, 128, 3))
    image = Image.fromarray(noise.astype(np.uint8))
    if spot:
        ImageDraw.Draw(image).rectangle((100, 8, 124, 30), (255, 0, 0))
    return image


@pytest.fixture
def normal_images():
    return [object_image(seed) for seed in range(3)]


@pytest.fixture
def defect():
    return object_image(9, spot=True)


@pytest.fixture
def panel_of(small_backbone, normal_images):
    """Name and parameters of a head -> a panel with it, fitted on the normal images."""

    def make(name="memory", **params):
        head = load_head(name, **params)
        panel = Panel(small_backbone, {name: head})
        return panel.fit(normal_images) if head.normals == "needed" else panel

    return make
