"""How each scored image looks as a whole: brightness, sharpness and one embedding.

All three come from what scoring computes anyway, the pixels at the size of the backbone's input
and the features that the heads read, so a change that no head can see moves none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from vlad.images.statistics import LEAST as OFFSET
from vlad.images.statistics import WEIGHT
from vlad.scoring.extractor import Extractor, Pixels
from vlad.types import Features, FeatureSpec, Layer, Seen

__all__ = ["Light", "Look", "Seen", "embeddings", "light_of"]

Light = tuple[float, float]  # brightness and sharpness
LEAST = 1e-6  # added to squares of contrasts and of grey, so that logarithms are finite
FINEST = 10  # the statistic of cells that is texture finer than 2 pixels


def light_of(extractor: Extractor, pixels: Mapping[Pixels, np.ndarray]) -> Light:
    """Brightness and sharpness of a prepared image, as `Seen` has them.

    Of several input sizes the largest is taken. Sharpness is in proportion to mean grey, so that
    dimmer light alone leaves it as it was. For heads that read statistics of the pixels alone, they
    are those of brightness and of the finest texture; for heads that read pixels alone, of these.

    Args:
        extractor: which has prepared it.
    """
    largest = max(pixels, key=lambda key: (key[1] not in ("statistics", "own"), *key))
    x = pixels[largest]
    if largest[1] == "statistics":
        brightness = float(x[..., 0].mean()) / WEIGHT
        texture = np.exp(x[..., FINEST].astype(float)) - OFFSET  # the mean difference in each cell
        return brightness, _contrast(float((texture**2).mean()), brightness)
    if largest[1] == "own":
        grey = x.mean(axis=0)
    else:
        backbone = extractor.backbone
        scale = np.asarray(backbone.std, np.float32) / 3
        grey = np.tensordot(scale, x, 1) + np.float32(np.mean(backbone.mean))
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    variance = float((4 * grey[1:-1, 1:-1] - around).var())
    brightness = float(grey.mean())
    return brightness, _contrast(variance, brightness)


def embeddings(
    specs: Mapping[str, FeatureSpec], heads: Iterable[str], found: Sequence[Features], count: int
) -> torch.Tensor | None:
    """The embedding of each of B images, as `Seen` has it, of any length.

    It is the mean patch token of the last block that a head reads; else the mean of the last map of
    a convolutional network, the image embedding, the class token or the mean window. Of several
    heads it is the first by name, whatever order they were given in: a calibration knows no order.

    Args:
        specs: head -> what it reads, of all heads of a run, so that a run that goes on with some of
            them has no other embedding.
        heads: those that read now.
        found: their features.
        count: B.

    Returns:
        (B, D) float32, (B, 0) without any such features; None if the head that it comes from does
        not read now.
    """
    wanted = {n: s for n, s in specs.items() if s.layers or s.statistics or s.pyramid}
    features = dict(zip(heads, found, strict=True)).get(min(wanted or specs))
    if features is None:
        return None
    if features.patches:
        x = features.patches[max(features.patches, key=_last)].mean(dim=1)
    elif features.pyramid:
        x = features.pyramid[-1].mean(dim=(2, 3))
    elif features.image is not None:
        x = features.image
    elif features.cls:
        x = features.cls[max(features.cls)]
    elif features.windows:
        x = features.windows[max(features.windows)].mean(dim=1)
    else:
        x = torch.empty(count, 0)
    return x.float()


class Look:
    """How an image looks, gathered tile by tile."""

    def __init__(self) -> None:
        self._lights: list[Light] = []
        self._embedding: np.ndarray | None = None

    def add(self, light: Light, embedding: np.ndarray | None) -> None:
        """Add the next tile; the same kind of embedding for every tile, or None for all."""
        self._lights.append(light)
        if embedding is not None:
            before = self._embedding
            self._embedding = embedding if before is None else before + embedding

    @property
    def seen(self) -> Seen | None:
        """The mean over the tiles; None where other heads of the run have the embedding."""
        if self._embedding is None:
            return None
        brightness, sharpness = map(float, np.mean(self._lights, axis=0))
        length = max(float(np.linalg.norm(self._embedding)), 1e-12)
        # rounded as files keep it, so that a run and its file agree
        kept = (self._embedding / length).astype(np.float16).astype(np.float32)
        return Seen(brightness, sharpness, kept)


def _contrast(variance: float, brightness: float) -> float:
    """Logarithm of a variance in proportion to the square of the brightness."""
    return float(np.log(variance / (brightness**2 + LEAST) + LEAST))


def _last(layer: Layer) -> int:
    return layer if isinstance(layer, int) else max(layer)
