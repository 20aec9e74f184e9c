"""Options for the boxes of a detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vlad.commands.options.option import option
from vlad.errors import InputError

if TYPE_CHECKING:
    from vlad.backbones.backbone import Backbone
    from vlad.backbones.transformers.boxes import BoxModel
    from vlad.commands.options import Common
    from vlad.heads import Head


boxes_option = option(
    "--boxes FILE", "Boxes of a detector, as COCO with score and phrase, for the head filo."
)


box_model_option = option(
    "--boxes-model NAME|PATH",
    "Find boxes for the head filo with a Hugging Face model for zero-shot object "
    "detection, such as IDEA-Research/grounding-dino-tiny.",
)


def check_boxes(
    heads: Mapping[str, Head], common: Common, boxes: str | None, model: str | None = None
) -> None:
    """Check that --boxes or --boxes-model has an effect, if given.

    Args:
        boxes, model: their values.

    Raises:
        InputError: both, no head uses boxes, or images are cut into tiles.
    """
    if boxes and model:
        raise InputError("--boxes and --boxes-model exclude each other; leave one out.")
    if not (boxes or model):
        return
    said = "--boxes" if boxes else "--boxes-model"
    if not any(head.boxes for head in heads.values()):
        raise InputError(
            f"No head here uses boxes ({', '.join(heads)}); leave {said} out, or add filo."
        )
    if common.setup.tile:
        raise InputError(f"Boxes are those of whole images; leave {said} or --tile out.")


def open_box_model(name: str | None, backbone: Backbone) -> BoxModel | None:
    """The model of --boxes-model, on the device of the backbone; None without a name.

    Raises:
        BackboneError: as `vlad.backbones.transformers.boxes.BoxModel`.
    """
    if not name:
        return None
    from vlad.backbones.transformers.boxes import BoxModel

    return BoxModel(name, backbone.device)
