"""Normal images of every shape that the generators meet."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


def _surface(height, width, seed=0):
    """A grained surface without a background, RGB."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9 + c) * np.cos(y / 7 + seed) for c in range(3)], -1)
    pixels = 128 + 40 * waves + rng.normal(0, 6, (height, width, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def _on_ground(height, width, seed=0):
    """A brown disc on a yellow ground, and where it lies."""
    y, x = np.ogrid[:height, :width]
    inside = np.hypot(y / height - 0.5, x / width - 0.5) < 0.3
    image = np.where(inside[..., None], (110, 70, 40), (220, 205, 60))
    grain = np.random.default_rng(seed).normal(0, 3, (height, width, 1))
    return (image + grain).clip(0, 255).astype(np.uint8), inside


@pytest.fixture(scope="session")
def surface():
    return _surface


@pytest.fixture(scope="session")
def on_ground():
    return _on_ground


@pytest.fixture(scope="session")
def shapes() -> dict[str, np.ndarray]:
    """Name -> image (H, W, 3) uint8."""
    grey = _surface(90, 90)[..., :1].repeat(3, 2)
    return {
        "colour": _surface(96, 96),
        "object": _on_ground(120, 100)[0],
        "grey": grey,
        "wide": _surface(40, 210),
        "tall": _on_ground(200, 50)[0],
        "tiny": _surface(8, 8),
        "tiny, wide": _surface(8, 31),
        "black": np.zeros((64, 64, 3), np.uint8),
        "white": np.full((64, 64, 3), 255, np.uint8),
        "flat": np.full((64, 64, 3), 120, np.uint8),
    }


@pytest.fixture
def normals(tmp_path):
    """A folder of twelve normal images, each with an object."""
    folder = tmp_path / "good"
    folder.mkdir()
    for i in range(12):
        Image.fromarray(_on_ground(72, 64 + i, seed=i)[0]).save(folder / f"{i:02}.png")
    return folder
