"""Pixel metrics of maps that are too large to be kept until all are there."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from vlad.errors import ImageError, InputError
from vlad.images import read_mask
from vlad.metrics import Streaming
from vlad.scoring import Scored
from vlad.types import Sample


class PixelTally:
    """Takes in maps picture by picture and compares them with masks at their own size.

    Values are those of `vlad.metrics.Streaming`: exact for small sets, else within a bound of
    1e-3, or with a warning that says how far they may be off.

    Args:
        samples: all pictures; where none has a mask there are no pixel metrics.
        max_pixels: of a mask.
    """

    def __init__(self, samples: Iterable[Sample], max_pixels: int):
        self.masked = any(sample.mask for sample in samples)
        self.max_pixels = max_pixels
        self.heads: dict[str, Streaming] = {}
        self.left_out: set[str] = set()

    def take(self, scored: Scored) -> Scored:
        """The same picture without its maps, or with an error where its mask cannot be read.

        Raises:
            InputError: a picture labelled normal has defect pixels.
        """
        if self.masked and scored.maps:
            try:
                self._update(scored)
            except ImageError as error:
                return replace(scored, scores={}, maps={}, error=str(error))
        return replace(scored, maps={})

    def metrics(self, head: str) -> dict[str, float]:
        """Those of a head, by name; NaN with a UserWarning where a class is missing."""
        return self.heads.setdefault(head, Streaming()).compute().values if self.masked else {}

    def _update(self, scored: Scored) -> None:
        sample = scored.sample
        mask = mask_of(sample, next(iter(scored.maps.values())).shape, self.max_pixels)
        if sample.label and not mask.any():
            if sample.id not in self.left_out:
                self.left_out.add(sample.id)
                warnings.warn(
                    f"{sample.path} is labelled anomalous but its mask is empty; it is left out of "
                    "the pixel metrics",
                    UserWarning,
                    stacklevel=3,
                )
            return
        if mask.any() and not sample.label:
            raise InputError(
                f"{sample.path} is labelled normal but its mask has defect pixels; correct the "
                "label or the mask."
            )
        for head, found in scored.maps.items():
            self.heads.setdefault(head, Streaming()).update(found[None], mask[None])


def mask_of(sample: Sample, size: tuple[int, int], max_pixels: int) -> np.ndarray:
    """(H, W) defect pixels of a picture."""
    if sample.mask is None:  # of a normal picture; a defect without a mask is left out later
        return np.zeros(size, bool)
    return read_mask(sample.mask, size, max_pixels=max_pixels)
