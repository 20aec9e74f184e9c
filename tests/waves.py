"""Good images that differ as those of a line do."""

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageEnhance


def waves(count: int, seed: int, light: float = 1.0) -> Iterator[Image.Image]:
    """Images of a pattern, each with other phases and noise, in light of this strength."""
    y, x = np.mgrid[0:60, 0:80]
    for i in range(count):
        random = np.random.default_rng([seed, i])
        wave = 128 + 40 * np.sin(x / 7 + random.normal()) * np.cos(y / 9 + random.normal() / 9)
        pixels = wave[..., None] + random.normal(0, 6, (60, 80, 3))
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        yield ImageEnhance.Brightness(image).enhance(light)
