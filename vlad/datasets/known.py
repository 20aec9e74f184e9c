"""A folder of known defects: images of each kind, and masks of where they are."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

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


def known_of(root: str | os.PathLike, categories: Iterable[str]) -> dict[str, list[Sample]]:
    """Category -> its known defects, as `list_known` reads them.

    Args:
        root: folder with a folder for each category; of a single category, it may be its own.

    Raises:
        InputError: as `list_known`, or a category without a folder.
    """
    root = existing_folder(root)
    names = list(dict.fromkeys(categories))
    if len(names) == 1 and not os.path.isdir(root / names[0]):
        return {names[0]: list_known(root)}
    if missing := [name for name in names if not os.path.isdir(root / name)]:
        raise InputError(
            f"{root} has no folder of known defects of {and_more(missing, 3)}; put a folder per "
            "category in it."
        )
    return {name: list_known(root / name) for name in names}


def without_known(test: Sequence[Sample], known: Sequence[Sample]) -> list[Sample]:
    """The test images that are no known defects; says how many are: a head was shown them.

    They are told by path and by the content of the file, so that copies are found too, but not
    images that were saved again.

    Raises:
        InputError: no defect is left to test on.
    """
    paths = {os.path.realpath(sample.path) for sample in known}
    sizes = {sample.path.stat().st_size for sample in known}
    contents = {_digest(sample.path) for sample in known}

    def is_known(path: Path) -> bool:
        if os.path.realpath(path) in paths:
            return True
        same_size = path.is_file() and path.stat().st_size in sizes
        return same_size and _digest(path) in contents

    kept = [sample for sample in test if not is_known(sample.path)]
    if any(sample.label for sample in test) and not any(sample.label for sample in kept):
        raise InputError(
            f"all {len(test) - len(kept)} test images with defects are known defects, so none is "
            "left to test on; give fewer known defects."
        )
    if left := len(test) - len(kept):
        warnings.warn(
            f"{left} of {len(test)} test images of {test[0].category} are known defects and left "
            "out of the test",
            stacklevel=3,
        )
    return kept


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
