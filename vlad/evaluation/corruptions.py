"""What light, lens, sensor, storage and a part's position do to test images, for `vlad bench`.

Five changes after 3D Common Corruptions (Kar et al., CVPR 2022) and ADShift (Cao et al., ICCV
2023), each of one moderate strength. Sizes are relative to the image. What is drawn at random
depends on the corruption and on the last two parts of the image's path alone.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image, ImageFilter

BRIGHTNESS = 0.3  # of every value, more or less
BLUR = 0.006  # standard deviation, of the short side
QUALITY = 20  # of JPEG
NOISE = 0.08  # standard deviation, of the range of values
SHIFT = 0.05  # of each side


def corrupted(name: str, image: Image.Image, path: Path) -> Image.Image:
    """An RGB image as a corruption leaves it.

    Args:
        name: one of `CORRUPTIONS`.
        path: the file of the image, which seeds what is random.
    """
    return CORRUPTIONS[name](image, _rng(name, path))


def corrupted_mask(name: str, mask: np.ndarray, path: Path) -> np.ndarray:
    """The mask (H, W) of the same image: only "shift" moves it."""
    return _shifted(mask, _rng(name, path)) if name == "shift" else mask


def _rng(name: str, path: Path) -> np.random.Generator:
    return np.random.default_rng(
        crc32("/".join([name, *path.parts[-2:]]).encode("utf-8", "replace"))
    )


def _brightness(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor = 1 + BRIGHTNESS * rng.choice([-1, 1])
    return _as_image(np.asarray(image, np.float32) * factor)


def _blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(BLUR * min(image.size)))


def _jpeg(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return Image.open(file).convert("RGB")


def _noise(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    values = np.asarray(image, np.float32)
    return _as_image(values + 255 * NOISE * rng.standard_normal(values.shape, np.float32))


def _shift(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(_shifted(np.asarray(image), rng))


def _shifted(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Values (H, W, ...) moved in a random direction; the border is mirrored."""
    angle = rng.uniform(0, 2 * math.pi)
    height, width = values.shape[:2]
    down, right = round(SHIFT * height * math.sin(angle)), round(SHIFT * width * math.cos(angle))
    around = [(abs(down),) * 2, (abs(right),) * 2] + [(0, 0)] * (values.ndim - 2)
    padded = np.pad(values, around, mode="reflect")
    top, left = abs(down) - down, abs(right) - right
    return padded[top : top + height, left : left + width]


def _as_image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


CORRUPTIONS: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "brightness": _brightness,
    "blur": _blur,
    "jpeg": _jpeg,
    "noise": _noise,
    "shift": _shift,
}
