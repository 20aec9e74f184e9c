"""A folder of known defects: images of each kind, and masks of where they are."""

from __future__ import annotations

import os

from vlad.datasets.ids import with_ids
from vlad.datasets.layout import (
    TRUTH,
    existing_folder,
    folders,
    is_normal,
    loose_masks,
    named,
    warn_of_rest,
)
from vlad.datasets.masked import matched
from vlad.errors import InputError
from vlad.system.text import and_more
from vlad.types import Sample


def list_known(root: str | os.PathLike) -> list[Sample]:
    """The images of known defects, with mask and kind.

    Args:
        root: folder with a folder of images for each kind of defect, or `test` with these in it,
            and `ground_truth` (or `masks`) with `<kind>/<stem>.png` (or `<stem>_mask.png`). Normal
            images in it are passed over.

    Raises:
        InputError: no such folder, no images, an image without mask, or a mask without image.
    """
    root = existing_folder(root)
    truth, test, train = named(root, *TRUTH), named(root, "test"), named(root, "train")
    above = test if os.path.isdir(test) else root
    kinds = [f for f in folders(above) if f not in (truth, train) and not is_normal(f.name)]
    samples = matched(kinds, truth)
    if not samples:
        raise InputError(
            f"{root} has no images of defects; put a folder per kind, and masks in "
            "ground_truth/<kind>, in it."
        )
    if bare := [str(sample.path) for sample in samples if sample.mask is None]:
        raise InputError(
            f"{len(bare)} of the images in {root} have no mask: {and_more(bare, 3)}; add masks in "
            "ground_truth/<kind>, or remove the images."
        )
    if rest := loose_masks(truth, samples):
        raise InputError(
            f"{len(rest)} of the masks match no image: {and_more(rest, 3)}; name each as its "
            "image, with or without _mask, in a folder named as that of the image."
        )
    normal = [f for f in folders(above) if is_normal(f.name)]
    warn_of_rest(above, samples, but=(truth, train, *normal))
    return with_ids((sample, above) for sample in samples)
