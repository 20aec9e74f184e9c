"""Boxes of the images: those that a model finds while it is scored, and those that are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from vlad.errors import HeadError, ImageError, InputError
from vlad.scoring.panel import Panel
from vlad.system.text import counted, shown
from vlad.types import Box, Sample

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


def check_given(panel: Panel, boxes: Sequence[Sequence[Box]], images: int) -> None:
    """Check boxes that are given with images.

    Raises:
        HeadError: no head uses boxes.
        InputError: another number of images, images cut into tiles, or a box outside its image.
    """
    if not any(head.boxes for head in panel.heads.values()):
        raise HeadError(
            f"No head here uses boxes ({', '.join(panel.heads)}); leave `boxes` out, or use filo."
        )
    if panel.tiling.tile:
        raise InputError("Boxes are those of whole images; leave `boxes` or `tile` out.")
    if len(boxes) != images:
        raise InputError(
            f"`boxes` are of {counted(len(boxes), 'image')}, but there are {images}; give a list "
            "for each image, which may be empty."
        )
    for box in (box for found in boxes for box in found):
        left, top, right, bottom = box.edges
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1 and 0 <= box.score <= 1):
            raise InputError(
                f"`boxes` have {shown(repr(box))}, which does not fit; give edges as fractions of "
                "the image's sides, and scores from 0 to 1."
            )
