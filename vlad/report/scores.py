"""The scores that users get, at the sizes of their images and drawn over them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import overload

import numpy as np
from PIL import Image

from vlad.errors import InputError
from vlad.images import ImageLike, as_image, is_image
from vlad.images.resize import resize_map
from vlad.report.heat import bounds, overlay, shared_scale
from vlad.types import Scores


@dataclass(frozen=True)
class ImageScores(Scores):
    """A detector's scores of B images; higher is more anomalous, never rescaled per image.

    Attributes:
        image_score: (B,).
        anomaly_map: (B, S, S) at the size of the backbone's input. If images are cut into tiles,
            each map has the size of its image; if these differ, it is an object array of B maps.
        kind: (B,) names of the nearest known kinds of defects, "" for none; None from a head that
            knows no kinds.
    """

    image_score: np.ndarray
    anomaly_map: np.ndarray
    kind: np.ndarray | None = None

    @overload
    def at(self, images: ImageLike) -> np.ndarray: ...  # type: ignore[overload-overlap]
    @overload
    def at(self, images: Iterable[ImageLike]) -> list[np.ndarray]: ...
    def at(self, images: ImageLike | Iterable[ImageLike]) -> np.ndarray | list[np.ndarray]:
        """The map of an image at its height and width, bilinear: (H, W); for a list, a list.

        Args:
            images: the images that were scored, in that order.

        Raises:
            InputError: not as many images as scores.
            ImageError: one that cannot be used.
        """
        found = [resize_map(one, image.size) for image, one in self._pairs(images)]
        return found[0] if is_image(images) else found

    @overload
    def overlay(  # type: ignore[overload-overlap]
        self, images: ImageLike, scale: tuple[float, float] | None = None
    ) -> Image.Image: ...
    @overload
    def overlay(
        self, images: Iterable[ImageLike], scale: tuple[float, float] | None = None
    ) -> list[Image.Image]: ...
    def overlay(
        self, images: ImageLike | Iterable[ImageLike], scale: tuple[float, float] | None = None
    ) -> Image.Image | list[Image.Image]:
        """An image under the heat of its map, at its own size; for a list, a list.

        >>> detector.score("photo.png").overlay("photo.png").save("heat.png")

        Args:
            images: the images that were scored, in that order.
            scale: the values at which heat starts and saturates. None takes them from these
                scores, so the hottest spot is always red; give a scale to compare calls.

        Raises:
            InputError: not as many images as scores.
            ImageError: one that cannot be used.
        """
        maps = list(self.anomaly_map)
        low, high = scale or shared_scale(maps, bounds(maps))
        drawn = [
            overlay(image, resize_map(one, image.size), low, high)
            for image, one in self._pairs(images)
        ]
        return drawn[0] if is_image(images) else drawn

    def _pairs(
        self, images: ImageLike | Iterable[ImageLike]
    ) -> Iterable[tuple[Image.Image, np.ndarray]]:
        given = [images] if is_image(images) else list(images)
        if len(given) != len(self):
            raise InputError(
                f"{len(given)} images do not match {len(self)} scores; give those that were scored."
            )
        return zip(map(as_image, given), self.anomaly_map, strict=True)
