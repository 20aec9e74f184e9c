"""The layout of MVTec AD, shared by MPDD, MVTec LOCO and many other sets, and that of BTAD.

Bergmann et al., "MVTec AD", CVPR 2019: `train/good`, `test/good`, `test/<defect>` and
`ground_truth/<defect>/<stem>_mask.png`, in a folder per category. MVTec LOCO AD (Bergmann et al.,
IJCV 2022) has `ground_truth/<defect>/<stem>/000.png`, `001.png`… instead, whose union is the mask;
its defects are `logical_anomalies` and `structural_anomalies`. BTAD (Mishra et al., ISIE 2021) uses
`ok` and `ko`, and its masks have the names of the images. Layouts checked against the loaders of
Anomalib.
"""

from __future__ import annotations

import os
from pathlib import Path

from vlad.datasets.folder import is_image_name
from vlad.datasets.layout import entries, existing_folder, finish, folders, images, of_category
from vlad.errors import InputError
from vlad.types import Sample


class MVTec:
    """A category folder in MVTec layout, or a folder of such folders.

    Attributes:
        categories: name -> folder, sorted by name.

    Raises:
        InputError: no such folder, or a folder without a category.
    """

    name = "MVTec"
    normal = "good"  # the folder of normal images

    def __init__(self, root: str | os.PathLike) -> None:
        root = existing_folder(root)
        if os.path.isdir(root / "test"):
            self.categories = {root.resolve().name: root}
        else:
            self.categories = {
                folder.name: folder for folder in folders(root) if os.path.isdir(folder / "test")
            }
        if not self.categories:
            raise InputError(
                f"{root} is not in {self.name} layout; put train/{self.normal}, "
                f"test/{self.normal}, test/<defect> and ground_truth/<defect> in it, or in a "
                "folder per category."
            )

    def train(self, category: str) -> list[Sample]:
        """The normal images of `train/good`.

        Raises:
            InputError: an unknown category, or there are none.
        """
        folder = of_category(self.categories, category)
        samples = self._samples(folder, "train", self.normal)
        if not samples:
            raise InputError(f"{folder} has no normal images; put some in train/{self.normal}.")
        return finish(samples, category, folder)

    def test(self, category: str) -> list[Sample]:
        """The images to score, with label, defect and mask, if any.

        A normal image has no mask: it is normal everywhere. A folder of masks stands for their
        union.

        Raises:
            InputError: an unknown category, or there are none.
        """
        folder = of_category(self.categories, category)
        samples = []
        for defect in folders(folder / "test"):
            samples += self._samples(folder, "test", defect.name)
        if not samples:
            raise InputError(
                f"{folder} has no test images; put some in test/{self.normal} and test/<defect>."
            )
        return finish(samples, category, folder)

    def _samples(self, folder: Path, split: str, kind: str) -> list[Sample]:
        paths = images(folder / split / kind)
        if kind == self.normal:
            return [Sample(path, id="", label=0, defect="good") for path in paths]
        return defects(paths, kind, folder / "ground_truth")


class BTAD(MVTec):
    """Like MVTec, with `ok` and `ko` for good and defect."""

    name = "BTAD"
    normal = "ok"


def defects(paths: list[Path], kind: str, ground_truth: Path) -> list[Sample]:
    """Images of one kind of defect, with their masks below the folder `ground_truth`."""
    masks = _masks(ground_truth / kind)
    return [Sample(path, "", label=1, defect=kind, mask=masks.get(path.stem)) for path in paths]


def _masks(folder: Path) -> dict[str, Path]:
    """Stem of the image -> mask: a file of that name, with or without "_mask", or a folder."""
    exact, named = {}, {}
    for path in entries(folder):
        if is_image_name(path.name):
            exact[path.stem] = path
            if path.stem.endswith("_mask"):
                named[path.stem.removesuffix("_mask")] = path
        elif os.path.isdir(path):
            exact[path.name] = path
    return exact | named
