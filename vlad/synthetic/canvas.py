"""What every generator draws on: the image, its object, and the rule for changed pixels.

A generator is any function

    generator(image, sources, rng) -> (image, mask, words)

of an RGB image (H, W, 3) uint8 with sides of at least 8 pixels, the images it may borrow from, and
a numpy Generator, its only source of randomness. It returns the damaged image; the mask (H, W)
bool, never empty, outside which the image is unchanged; and words for a caption, such as "a
scratch".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image
from scipy import ndimage

from vlad.errors import ImageError
from vlad.synthetic.noise import SIZE, spectral
from vlad.synthetic.spots import VISIBLE, Place, spot

Defect = tuple[np.ndarray, np.ndarray, str]

LEVELS = VISIBLE * 255  # 8.9: a smaller change in all channels of a pixel is not visible
_CLEAR = 2 * LEVELS  # target of a defect, to stand out from the grain
_LEAST = 2e-4  # least share of the image to change, 13 pixels of 256²
_ATTEMPTS = 8
_LOW = 128  # side in pixels for finding the object
_TILE = 128  # side in pixels of the noise tile repeated over the image
_SPOT = 40  # radius of drawn spots in pixels of SIZE; leaves room for their ragged edge


@dataclass(frozen=True)
class Sources:
    """Images that a generator may borrow from, (H, W, 3) uint8 of any size, read on access.

    Attributes:
        normals: other normal images of the same kind.
        textures: images of foreign materials.
    """

    normals: Sequence[np.ndarray] = ()
    textures: Sequence[np.ndarray] = ()


def borrow(images: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray | None:
    """One of the images, or None if none is readable."""
    first = int(rng.integers(max(1, len(images))))
    for step in range(len(images)):
        try:
            return images[(first + step) % len(images)]
        except ImageError:  # try the next one
            continue
    return None


class Scene:
    """An image to damage.

    Args:
        image: (H, W, 3) uint8.

    Attributes:
        rgb: (H, W, 3) float32 in [0, 1].
        cover: (H, W) bool, the object; all true if no object was found on a background.
        isolated: whether an object was found.
        extent: side of a square as large as the object, in pixels.
        stroke: size of one pixel of a 256² image, in pixels of this one.
    """

    def __init__(self, image: np.ndarray):
        self.rgb = image.astype(np.float32) / 255
        self.shape = image.shape[:2]
        found = object_cover(image)
        self.isolated = found is not None
        self.cover = np.ones(self.shape, bool) if found is None else found
        self.extent = float(np.sqrt(self.cover.sum()))
        self.stroke = max(0.5, min(self.shape) / 256)

    @cached_property
    def soft_cover(self) -> np.ndarray:
        """The object with a soft edge of one pixel, (H, W) float32 in [0, 1]."""
        if not self.isolated:
            return np.ones(self.shape, np.float32)
        return ndimage.uniform_filter(self.cover.astype(np.float32), 3)

    @cached_property
    def _inside(self) -> np.ndarray:
        return np.flatnonzero(self.cover)

    def point(self, rng: np.random.Generator) -> np.ndarray:
        """A random pixel of the object, (x, y)."""
        y, x = divmod(int(self._inside[rng.integers(len(self._inside))]), self.shape[1])
        return np.array([x, y], np.float32)

    def around(self, centre: np.ndarray, radius: float) -> np.ndarray:
        """Mean colour (3,) of the square of this radius around a point."""
        x, y = centre.astype(int)
        r = max(1, round(radius))
        return self.rgb[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1].mean((0, 1))

    def put(self, field: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """A (h, w) field placed around a point of the image, zero elsewhere: (H, W) float32."""
        out = np.zeros(self.shape, np.float32)
        (height, width), (h, w) = self.shape, field.shape
        left, top = round(float(centre[0]) - w / 2), round(float(centre[1]) - h / 2)
        rows = slice(max(0, top), min(height, top + h))
        columns = slice(max(0, left), min(width, left + w))
        if rows.start < rows.stop and columns.start < columns.stop:
            out[rows, columns] = field[
                rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
            ]
        return out

    def spot(
        self, rng: np.random.Generator, centre: np.ndarray, radius: float, rough=0.3, soft=1.0
    ) -> np.ndarray:
        """Coverage (H, W) of an irregular spot; `soft` is half the width of its edge, in pixels."""
        middle = np.full(2, SIZE / 2)
        edge = max(1.0, soft * _SPOT / radius)
        nothing = np.empty(0)  # a spot only uses its centre and size
        drawn = spot(rng, Place(nothing, nothing, nothing, middle, _SPOT), rough, edge)
        side = max(2, round(SIZE * radius / _SPOT))
        return self.put(resized(drawn, (side, side)), centre)

    def grain(self, rng: np.random.Generator, beta: float) -> np.ndarray:
        """Noise (H, W) of standard deviation 1, coarser with larger beta."""
        tile = spectral(rng, beta, n=_TILE)  # it wraps around, so tiles fit edge to edge
        times = [-(-side // _TILE) for side in self.shape]
        return np.tile(tile, times)[: self.shape[0], : self.shape[1]]


def paint(
    image: np.ndarray,
    rng: np.random.Generator,
    change: Callable[[Scene, np.random.Generator], np.ndarray],
    words: str,
) -> Defect:
    """Damage an image by `change`, retrying until it is clearly visible; else use the clearest try.

    Args:
        change: scene -> changed image, (H, W, 3) in [0, 1] or slightly beyond.
    """
    scene = Scene(image)
    least = max(1.0, _LEAST * scene.cover.size)
    best, most = None, -1
    for _ in range(_ATTEMPTS):
        after, mask = settle(image, change(scene, rng))
        clear = int((peak(np.abs(after.astype(np.int16) - image)) > _CLEAR).sum())
        if mask.sum() >= least and clear > most:
            best, most = (after, mask), clear
        if most >= least:
            break
    if best is None:
        best = settle(image, _plain_spot(scene, rng))
    return *best, words


def _plain_spot(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A fallback spot visible on every image: a quarter lighter or darker."""
    centre = scene.point(rng)
    y, x = np.ogrid[: scene.shape[0], : scene.shape[1]]
    inside = np.hypot(x - centre[0], y - centre[1]) <= max(1.0, scene.extent / 10)
    other = np.where(grey(scene.rgb)[..., None] < 0.5, scene.rgb + 0.25, scene.rgb - 0.25)
    return np.where(inside[..., None], other, scene.rgb)


def settle(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The changed image and its mask, by the rules of this package.

    A pixel counts as changed if a channel differs by more than `LEVELS` of 255, or by any amount in
    a narrow gap between such pixels; specks beside a larger change do not count. All other pixels
    are restored. A grey image stays grey.

    Args:
        before: (H, W, 3) uint8.
        after: (H, W, 3) float in [0, 1] or beyond.

    Returns:
        (H, W, 3) uint8 and (H, W) bool.
    """
    after = np.clip(after, 0, 1)
    if _is_grey(before):
        after = np.repeat(grey(after)[..., None], 3, 2)
    after = np.rint(after * 255).astype(np.uint8)
    change = peak(np.abs(after.astype(np.int16) - before))
    mask = change > LEVELS
    if mask.any():
        reach = max(1, round(min(mask.shape) / 64))
        rows, columns = (_span(np.any(mask, axis=axis), reach + 1) for axis in (1, 0))
        mask[rows, columns] = _joined(mask[rows, columns], change[rows, columns] > 0, reach)
    return np.where(mask[..., None], after, before), mask


def _is_grey(image: np.ndarray) -> bool:
    r, g, b = (image[..., c].astype(np.int16) for c in range(3))
    return max(np.abs(r - g).max(), np.abs(g - b).max()) <= 2


def grey(rgb: np.ndarray) -> np.ndarray:
    """The mean of the channels, (H, W); several times faster than `mean(2)`."""
    return (rgb[..., 0] + rgb[..., 1] + rgb[..., 2]) / 3


def peak(rgb: np.ndarray) -> np.ndarray:
    """The maximum of the channels, (H, W); several times faster than `max(2)`."""
    return np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])


def _span(used: np.ndarray, margin: int) -> slice:
    places = np.flatnonzero(used)
    return slice(max(0, places[0] - margin), places[-1] + margin + 1)


def _joined(visible: np.ndarray, changed: np.ndarray, reach: int) -> np.ndarray:
    """Visible pixels and the narrow gaps between them, without specks."""
    closed = ndimage.binary_closing(visible, np.ones((3, 3)), iterations=reach)
    mask = visible | (closed & changed)
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return (sizes >= 0.02 * sizes.max())[parts] & mask


def object_cover(image: np.ndarray) -> np.ndarray | None:
    """Find the object on its background by the colour of the image's border.

    Otsu's threshold splits pixels by their distance from the median colour of the border. The
    result counts as an object only if nearly all of the border is background, the object stands out
    clearly, and it is neither a speck nor nearly the whole image.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (H, W) bool, or None without such an object, as on a texture.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _LOW / max(height, width))
    size = max(4, round(height * scale)), max(4, round(width * scale))
    small = resized(image, size).astype(np.float32) / 255
    ring = np.ones(size, bool)
    ring[2:-2, 2:-2] = False
    distance = _distance(small, np.median(small[ring], axis=0))
    threshold = _otsu(distance)
    found = distance > threshold
    if found[ring].mean() > 0.15:
        return None
    # padded, since closing would erode what touches the border
    found = ndimage.binary_closing(np.pad(found, 4, "edge"), iterations=4)[4:-4, 4:-4]
    found = ndimage.binary_fill_holes(ndimage.binary_opening(found))
    parts, count = ndimage.label(found)
    if not count:
        return None
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    found = (sizes >= 0.2 * sizes.max())[parts]
    apart = distance[found].mean() - distance[~found].mean() if not found.all() else 0
    if not 0.03 <= found.mean() <= 0.9 or apart < 0.07:
        return None
    # its blurred edge was half assigned to the background
    found = ndimage.binary_dilation(found)
    cover = resized(found.astype(np.float32), (height, width)) > 0.5
    return cover if cover.any() else None


def _distance(small: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Largest difference of a channel from the background colour, plain or in shadow.

    Shadows can be distinguished from objects only on a coloured background.
    """
    share = small @ ground / (ground @ ground + 1e-6)
    lowest = 0.5 if np.ptp(ground) > 0.15 else 1.0
    return peak(np.abs(small - np.clip(share, lowest, 1)[..., None] * ground))


def _otsu(values: np.ndarray) -> float:
    """The threshold that splits values in [0, 1] into two groups of least spread (Otsu 1979)."""
    counts, edges = np.histogram(values, 64, (0, 1))
    middles = (edges[:-1] + edges[1:]) / 2
    low = np.cumsum(counts)
    high = low[-1] - low
    total = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = low * high * (total / low - (total[-1] - total) / high) ** 2
    return float(edges[1 + int(np.nanargmax(between))]) if np.isfinite(between).any() else 1.0


def resized(field: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A field resized to `size` (H, W), bilinear, antialiased when it shrinks.

    Args:
        field: (h, w) float32, or (h, w, 3) uint8.
    """
    image = Image.fromarray(np.ascontiguousarray(field))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
