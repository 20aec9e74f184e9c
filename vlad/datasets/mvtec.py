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

from vlad.datasets.layout import (
    TRUTH,
    existing_folder,
    finish,
    folders,
    is_normal,
    named,
    of_category,
    warn_of_rest,
)
from vlad.datasets.masked import labelled, normals
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
        if os.path.isdir(named(root, "test")):
            self.categories = {root.resolve().name: root}
        else:
            self.categories = {
                folder.name: folder
                for folder in folders(root)
                if os.path.isdir(named(folder, "test"))
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
        train = named(folder, "train")
        samples = [s for kind in folders(train) if is_normal(kind.name) for s in normals(kind)]
        warn_of_rest(train, samples)
        if not samples:
            raise InputError(f"{folder} has no normal images; put some in train/{self.normal}.")
        return finish(samples, category, folder)

    def test(self, category: str) -> list[Sample]:
        """The images to score, with label, defect and mask, if any.

        A normal image has no mask: it is normal everywhere. A folder of masks stands for their
        union.

        Raises:
            InputError: an unknown category, there are none, or two share a mask.
        """
        folder = of_category(self.categories, category)
        test, truth = named(folder, "test"), named(folder, *TRUTH)
        samples = labelled(folders(test), truth)
        warn_of_rest(test, samples)
        if not samples:
            raise InputError(
                f"{folder} has no test images; put some in test/{self.normal} and test/<defect>."
            )
        return finish(samples, category, folder)


class BTAD(MVTec):
    """Like MVTec, with `ok` and `ko` for good and defect."""

    name = "BTAD"
    normal = "ok"
