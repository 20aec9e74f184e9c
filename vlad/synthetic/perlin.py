"""DRAEM's defects: a foreign texture blended in under thresholded Perlin noise.

Zavrtanik et al., "DRAEM: A discriminatively trained reconstruction embedding for surface anomaly
detection", ICCV 2021, section 3.2. The paper uses the textures of DTD; here they are the given
texture images or, without any, drawn ones or another normal image cut into tiles and shuffled. The
noise is Perlin's ("Improving noise", SIGGRAPH 2002).
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from vlad.synthetic import textures as drawn
from vlad.synthetic.canvas import Defect, Scene, Sources, borrow, paint

_THRESHOLD = 0.5
_CELLS = 4  # up to 2⁴ cells per side; the paper's 2⁶ give specks everywhere
# textures that take only a few milliseconds to draw
_DRAWN = [drawn.knit, drawn.wood, drawn.brushed, drawn.cast, drawn.carpet, drawn.granite]
_DRAWN += [drawn.marble, drawn.concrete, drawn.clouds, drawn.ribs]

_AUGMENTATIONS = (
    lambda image, rng: ImageOps.posterize(image, int(rng.integers(2, 6))),
    lambda image, rng: ImageOps.solarize(image, int(rng.integers(32, 128))),
    lambda image, rng: ImageOps.autocontrast(image),
    lambda image, rng: ImageOps.equalize(image),
    lambda image, rng: ImageEnhance.Sharpness(image).enhance(rng.uniform(2, 6)),
    lambda image, rng: ImageEnhance.Color(image).enhance(rng.uniform(0, 2)),
    lambda image, rng: ImageEnhance.Brightness(image).enhance(rng.uniform(0.7, 1.4)),
    lambda image, rng: ImageEnhance.Contrast(image).enhance(rng.uniform(0.6, 2)),
    lambda image, rng: image.transpose(Image.Transpose(int(rng.integers(7)))),
)


def perlin(image: np.ndarray, sources: Sources, rng: np.random.Generator) -> Defect:
    """A texture under the noise mask, with an opacity of 20 to 90 %."""
    texture = _texture(image, sources, rng)

    def change(scene: Scene, rng: np.random.Generator) -> np.ndarray:
        cells = 2 ** rng.integers(0, _CELLS + 1, 2)
        noise = perlin_noise(rng, scene.shape, tuple(cells))
        area = (noise > _THRESHOLD) & scene.cover
        opacity = rng.uniform(0.2, 0.9)
        return scene.rgb + (area * np.float32(opacity))[..., None] * (texture - scene.rgb)

    return paint(image, rng, change, "a foreign texture")


def perlin_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]
) -> np.ndarray:
    """Gradient noise (H, W) within about [-1, 1], rotated by a random angle.

    Args:
        cells: number of lattice cells in the image, down and across.
    """
    height, width = shape
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.ogrid[:height, :width]
    v, u = (y + 0.5) / height - 0.5, (x + 0.5) / width - 0.5
    v, u = v * np.cos(angle) - u * np.sin(angle), v * np.sin(angle) + u * np.cos(angle)
    # half a diagonal and a spare cell, since the lattice is rotated
    counts = [int(1.5 * n) + 3 for n in cells]
    v, u = (
        (a * n + m / 2).astype(np.float32) for a, n, m in zip((v, u), cells, counts, strict=True)
    )
    direction = rng.uniform(0, 2 * np.pi, counts)
    lattice = np.stack([np.sin(direction), np.cos(direction)], 2).astype(np.float32)
    row, column = v.astype(np.int32), u.astype(np.int32)
    v, u = v - row, u - column

    def corner(down: int, right: int) -> np.ndarray:
        slope = lattice[row + down, column + right]
        return slope[..., 0] * (v - down) + slope[..., 1] * (u - right)

    def fade(t: np.ndarray) -> np.ndarray:
        return t * t * t * (t * (t * 6 - 15) + 10)

    a, b = fade(u), fade(v)
    top = corner(0, 0) * (1 - a) + corner(0, 1) * a
    bottom = corner(1, 0) * (1 - a) + corner(1, 1) * a
    return np.sqrt(2) * (top * (1 - b) + bottom * b)


def _texture(image: np.ndarray, sources: Sources, rng: np.random.Generator) -> np.ndarray:
    """An augmented foreign texture of the image's size, (H, W, 3) float32 in [0, 1]."""
    height, width = image.shape[:2]
    found = borrow(sources.textures, rng)
    if found is None and rng.random() < 0.5:
        draw = _DRAWN[rng.integers(len(_DRAWN))]
        found = (np.clip(draw(rng, rng), 0, 1) * 255).astype(np.uint8)
    elif found is None:
        own = borrow(sources.normals, rng)
        found = _shuffled(image if own is None else own, rng)
    texture = Image.fromarray(found).resize((width, height), Image.Resampling.BILINEAR)
    for choice in rng.choice(len(_AUGMENTATIONS), 3, replace=False):
        texture = _AUGMENTATIONS[choice](texture, rng)
    texture = texture.resize((width, height))  # a quarter turn swaps its sides
    return np.asarray(texture, np.float32) / 255


def _shuffled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image in 4×4 shuffled tiles; a remainder that fills no tile is dropped."""
    h, w = (max(1, side // 4) for side in image.shape[:2])
    rows, columns = image.shape[0] // h, image.shape[1] // w
    tiles = image[: rows * h, : columns * w].reshape(rows, h, columns, w, 3).swapaxes(1, 2)
    tiles = rng.permutation(tiles.reshape(-1, h, w, 3))
    return tiles.reshape(rows, columns, h, w, 3).swapaxes(1, 2).reshape(rows * h, columns * w, 3)
