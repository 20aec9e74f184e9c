"""Images of defects in folders, without the masks and normal images that often lie beside them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import PurePosixPath

from vlad.datasets import list_samples
from vlad.datasets.folder import Paths
from vlad.datasets.layout import TRUTH, is_normal
from vlad.errors import InputError
from vlad.system.text import and_more, counted
from vlad.types import Sample


def list_defects(paths: Paths) -> list[Sample]:
    """The images of files, folders, patterns and manifests, all of which show defects.

    Masks, in a folder such as `ground_truth` or named as an image with "_mask", are left out with a
    UserWarning that counts them.

    Raises:
        InputError: as `vlad.datasets.list_samples`, nothing but masks, or images that a folder such
            as `good` or a manifest calls normal.
    """
    samples = list_samples(paths)
    if normal := [s for s in samples if s.label == 0 or _inside(s, is_normal)]:
        raise InputError(
            f"{counted(len(normal), 'image')} among the defects {_is(normal)} called normal: "
            f"{_named(normal)}; name folders that hold defects alone."
        )
    ids = {sample.id for sample in samples}
    masks = [s for s in samples if _inside(s, _is_truth) or _mask_of(s) in ids]
    if len(masks) == len(samples):
        raise InputError(f"there are only masks among the defects ({_named(masks)}); give images.")
    if masks:
        warnings.warn(
            f"{counted(len(masks), 'file')} among the defects {_is(masks)} left out as "
            f"{'masks' if len(masks) > 1 else 'a mask'}: {_named(masks)}",
            stacklevel=2,
        )
    return [sample for sample in samples if sample not in masks]


def _inside(sample: Sample, kind) -> bool:
    """Whether it lies in a folder of a kind, below the one that was named."""
    return any(kind(part) for part in PurePosixPath(sample.id).parts[:-1])


def _is_truth(folder: str) -> bool:
    return folder.casefold() in TRUTH


def _mask_of(sample: Sample) -> str:
    """The id of the image whose mask it would be by its name; "" if it is none."""
    return sample.id.removesuffix("_mask") if sample.id.endswith("_mask") else ""


def _is(samples: Iterable[Sample]) -> str:
    return "are" if len(list(samples)) > 1 else "is"


def _named(samples: Iterable[Sample]) -> str:
    return and_more([sample.path for sample in samples], 3)
