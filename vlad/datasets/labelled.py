"""The user's own labelled images: sorted into folders, or listed in a CSV manifest."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from vlad.datasets.ids import with_ids
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
from vlad.datasets.manifest import find_listed, listed_splits
from vlad.datasets.masked import labelled, normals
from vlad.errors import InputError
from vlad.types import Sample


class LabelledFolder:
    """A folder with one folder per kind of image, as one category named after it.

    `good` (or `normal`, `ok`) holds normal images, `ground_truth` (or `masks`) may hold
    `<defect>/<stem>.png` (or `<stem>_mask.png`), `train` further normal images; any other folder is
    a kind of defect. It must have normal images or masks.

    Attributes:
        categories: the name -> the folder.

    Raises:
        InputError: no such folder, or a folder without normal images and masks.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        root = existing_folder(root)
        self.categories = {root.resolve().name: root}
        if not any(is_normal(f.name) or f.name.casefold() in TRUTH for f in folders(root)):
            raise InputError(
                f"{root} is not a folder of labelled images; put good/ (or normal/, ok/), a folder "
                "per kind of defect and, optionally, train/ and ground_truth/<defect>/ in it."
            )

    def train(self, category: str) -> list[Sample]:
        """The normal images in `train`.

        Raises:
            InputError: an unknown category, or there are none.
        """
        root = of_category(self.categories, category)
        train = named(root, "train")
        if not os.path.isdir(train):
            raise InputError(f"{root} has no folder train; put normal images in it.")
        found = normals(train)
        warn_of_rest(train, found)
        if not found:
            raise InputError(f"no images in {train}; put normal images in it.")
        return finish(found, category, root)

    def test(self, category: str) -> list[Sample]:
        """The images to score, with label, defect and mask, if any.

        Raises:
            InputError: an unknown category, or there are none.
        """
        root = of_category(self.categories, category)
        train, truth = named(root, "train"), named(root, *TRUTH)
        samples = labelled([f for f in folders(root) if f not in (train, truth)], truth)
        warn_of_rest(root, samples, but=(train, truth))
        if not samples:
            raise InputError(f"the folders in {root} have no images; fill good/ and the others.")
        return finish(samples, category, root)


class Manifest:
    """A CSV manifest (see `read_manifest`) with labels.

    `train` returns the rows of split `train` not labelled anomalous, `test` those of split `test`
    or none. Rows without a category belong to one named after the folder.

    Attributes:
        categories: name -> the manifest, in its order.

    Raises:
        InputError: as `read_manifest`, or another split.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._path = Path(path).expanduser()
        every = [sample for sample, _ in find_listed(self._path)]
        splits = listed_splits(self._path)
        unknown = sorted(splits - {"", "train", "test"})
        if unknown:
            raise InputError(
                f"{self._path} has the split {unknown[0]!r}; write train, test, or nothing for "
                "test."
            )
        self._name = self._path.resolve().parent.name
        self.categories = {sample.category or self._name: self._path for sample in every}
        self._found: dict[str, list[tuple[Sample, Path]]] = {"train": [], "test": []}
        for split in sorted(splits):
            self._found[split or "test"] += find_listed(self._path, split)
        both = {s.path for s, _ in self._found["train"]} & {s.path for s, _ in self._found["test"]}
        if both:
            raise InputError(
                f"{self._path} lists {min(both)} for both train and test; keep one of the two rows."
            )

    def train(self, category: str) -> list[Sample]:
        """The normal images of split `train`.

        Raises:
            InputError: an unknown category, or there are none.
        """
        return self._split(category, "train", (0, None))

    def test(self, category: str) -> list[Sample]:
        """The images to score, with label and mask, if any.

        Raises:
            InputError: an unknown category, there are none, or one has no label.
        """
        samples = self._split(category, "test", (0, 1, None))
        for sample in samples:
            if sample.label is None:
                raise InputError(
                    f"{sample.path} has no label in {self._path}; write normal or anomalous."
                )
        return samples

    def _split(self, category: str, split: str, labels: tuple[int | None, ...]) -> list[Sample]:
        of_category(self.categories, category)
        found = [
            (replace(sample, category=category), folder)
            for sample, folder in self._found[split]
            if (sample.category or self._name) == category and sample.label in labels
        ]
        if not found:
            raise InputError(f"{self._path} lists no {split} images of {category}; add some.")
        return with_ids(found)
