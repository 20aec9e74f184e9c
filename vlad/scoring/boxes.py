"""Boxes that a model finds in the images while they are scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from vlad.errors import ImageError
from vlad.scoring.panel import Panel
from vlad.types import Sample

if TYPE_CHECKING:  # brings in transformers
    from vlad.backbones.transformers.boxes import BoxModel


def with_found_boxes(
    panel: Panel,
    samples: Iterable[Sample],
    model: BoxModel,
    open_image: Callable[[Path], Image.Image],
) -> Iterator[Sample]:
    """The samples with the boxes that the model finds in them, one by one as they are taken.

    It looks for the faults of each image's category (see `Panel.faults`). An image that cannot be
    opened has no boxes: its error is told where it is scored.

    Raises:
        HeadError: a category without faults.
        BackboneError: a fault longer than the model reads.
    """
    for sample in samples:
        faults = panel.faults(sample.category)
        try:
            image = open_image(sample.path)
        except ImageError:
            yield sample
        else:
            yield replace(sample, boxes=model.find(image, faults))
