"""KolektorSDD and KolektorSDD2, labelled by masks only.

KolektorSDD (Tabernik et al., J. Intell. Manuf. 2020): `kos01/Part0.jpg` and `Part0_label.bmp`, one
folder per item. KolektorSDD2 (Božič et al., Computers in Industry 2021): `train/10000.png`,
`train/10000_GT.png`, and the same in `test`. Layouts checked against the loaders of the second
paper's code (vicoslab/mixed-segdec-net-comind2021) and of Anomalib.
"""

from __future__ import annotations

import os
from pathlib import Path

from vlad.datasets.layout import (
    Splits,
    existing_folder,
    finish,
    folders,
    images,
    of_category,
    warn_of_rest,
)
from vlad.errors import InputError
from vlad.images import read_mask
from vlad.types import Sample


class KolektorSDD(Splits):
    """A KolektorSDD folder, as one category.

    The authors publish folds for supervised learning only. Here the normal images of the first four
    fifths of the items are the training split, and all others are test images.

    Attributes:
        categories: the name -> the folder.

    Raises:
        InputError: no such folder, or a folder without items.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        root = existing_folder(root)
        self.categories = {"kolektorsdd": root}
        self._items = [folder for folder in folders(root) if folder.name.startswith("kos")]
        if not self._items:
            raise InputError(
                f"{root} is not in KolektorSDD layout; put kos01/Part0.jpg, "
                "kos01/Part0_label.bmp and so on in it."
            )

    def _split(self, category: str, split: str) -> list[Sample]:
        root = of_category(self.categories, category)
        n_reference = len(self._items) * 4 // 5
        samples = []
        for i, item in enumerate(self._items):
            for sample in _samples(item, "_label", ".bmp"):
                if (i < n_reference and sample.label == 0) == (split == "train"):
                    samples.append(sample)
        return _finish(samples, category, root, split)


class KolektorSDD2:
    """A KolektorSDD2 folder, as one category, with the authors' split.

    Attributes:
        categories: the name -> the folder.

    Raises:
        InputError: no such folder, or a folder without `train` and `test` with masks.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        root = existing_folder(root)
        self.categories = {"kolektorsdd2": root}
        if not all(any((root / split).glob("*_GT.png")) for split in ("train", "test")):
            raise InputError(
                f"{root} is not in KolektorSDD2 layout; put train/10000.png, "
                "train/10000_GT.png and so on, and the same in test."
            )

    def train(self, category: str) -> list[Sample]:
        """The normal images of `train`; those with a defect are left out.

        Raises:
            InputError: an unknown category, there are none, or a mask is missing.
        """
        root = of_category(self.categories, category)
        samples = [s for s in _samples(root / "train", "_GT", ".png") if s.label == 0]
        return _finish(samples, category, root, "train")

    def test(self, category: str) -> list[Sample]:
        """The images to score, with label and, for defects, mask.

        Raises:
            InputError: as `train`.
        """
        root = of_category(self.categories, category)
        return _finish(_samples(root / "test", "_GT", ".png"), category, root, "test")


def _samples(folder: Path, ending: str, suffix: str) -> list[Sample]:
    """The images of a folder; the label is 1 if the mask is not all black."""
    samples, masks = [], []
    for path in images(folder):
        if ending in path.stem:  # also stray copies such as 10301_GT(1).png
            masks.append(path)
            continue
        mask = path.with_name(path.stem + ending + suffix)
        if not mask.is_file():
            raise InputError(f"{path} has no mask {mask.name} beside it; unpack the set again.")
        bad = bool(read_mask(mask).any())
        samples.append(
            Sample(
                path,
                id="",
                label=int(bad),
                defect="defect" if bad else "good",
                mask=mask if bad else None,
            )
        )
    warn_of_rest(folder, samples, but=masks)
    return samples


def _finish(samples: list[Sample], category: str, root: Path, split: str) -> list[Sample]:
    if not samples:
        raise InputError(f"{root} has no {split} images; unpack the set again.")
    return finish(samples, category, root)
