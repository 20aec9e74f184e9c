"""MVTec AD 2: a public test with labels, and two private ones whose labels a server keeps.

Heckler-Kram et al., "The MVTec AD 2 Dataset" (arXiv 2503.21622): a folder per category with
`train/good`, `validation/good`, `test_public/good`, `test_public/bad`,
`test_public/ground_truth/bad/<stem>_mask.png`, and images without labels in `test_private` and
`test_private_mixed`. File names end in the lighting, such as `000_regular` or `000_overexposed`;
those of the private splits in `_regular` and `_mixed`. Layout checked against the authors' public
utilities and the loader of Anomalib; not against the images themselves.
"""

from __future__ import annotations

import os

from vlad.datasets.layout import (
    TRUTH,
    existing_folder,
    finish,
    folders,
    images,
    named,
    of_category,
    warn_of_rest,
)
from vlad.datasets.masked import labelled, normals
from vlad.datasets.mvtec import MVTec
from vlad.errors import InputError
from vlad.types import Sample

PUBLIC = "test_public"
PRIVATE = ("test_private", "test_private_mixed")


class MVTecAD2(MVTec):
    """A category folder of MVTec AD 2, or a folder of such folders.

    Attributes:
        categories: name -> folder, sorted by name.
        aupro_limit: the false-positive rate up to which its authors measure AUPRO.

    Raises:
        InputError: no such folder, or a folder without a category.
    """

    aupro_limit = 0.05

    def __init__(self, root: str | os.PathLike) -> None:
        root = existing_folder(root)
        found = [root] if os.path.isdir(root / PUBLIC) else folders(root)
        self.categories = {f.resolve().name: f for f in found if os.path.isdir(f / PUBLIC)}
        if not self.categories:
            raise InputError(
                f"{root} is not in MVTec AD 2 layout; put train/good, validation/good, "
                f"{PUBLIC}/good, {PUBLIC}/bad and {PUBLIC}/ground_truth/bad in it, or in a folder "
                "per category."
            )

    def test(self, category: str) -> list[Sample]:
        """The images of the public test, with label and mask.

        Raises:
            InputError: an unknown category, there are none, or two share a mask.
        """
        folder = of_category(self.categories, category)
        test = folder / PUBLIC
        truth = named(test, *TRUTH)
        samples = labelled([kind for kind in folders(test) if kind != truth], truth)
        warn_of_rest(test, samples, but=[truth])
        if not samples:
            raise InputError(f"{test} has no images; put some in {PUBLIC}/good and {PUBLIC}/bad.")
        return finish(samples, category, folder)

    def validation(self, category: str) -> list[Sample]:
        """The normal images of `validation/good`, to set thresholds on.

        Raises:
            InputError: an unknown category, or there are none.
        """
        folder = of_category(self.categories, category)
        samples = normals(folder / "validation" / self.normal)
        warn_of_rest(folder / "validation", samples)
        if not samples:
            raise InputError(f"{folder} has no images in validation/good; unpack the set again.")
        return finish(samples, category, folder)

    def unlabelled(self, category: str) -> list[Sample]:
        """The images of both private splits; an id is `test_private/000_regular`.

        Raises:
            InputError: an unknown category, or a split without images.
        """
        folder = of_category(self.categories, category)
        samples = []
        for split in PRIVATE:
            found = [Sample(path, id="") for path in images(folder / split)]
            warn_of_rest(folder / split, found)
            if not found:
                raise InputError(f"{folder} has no images in {split}; unpack the set again.")
            samples += found
        return finish(samples, category, folder)
