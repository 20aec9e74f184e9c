"""The layout of MVTec AD, which many other sets share.

Bergmann et al., "MVTec AD", CVPR 2019: `train/good`, `test/good`, `test/<defect>` and
`ground_truth/<defect>/<stem>_mask.png`, in a folder per category.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from vlad.datasets.folder import is_picture_name
from vlad.datasets.ids import with_ids
from vlad.errors import InputError
from vlad.types import Sample


class MVTec:
    """A category folder in MVTec layout, or a folder of such folders.

    Attributes:
        categories: name -> folder, sorted by name.

    Raises:
        InputError: no such folder, or no category in it.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        root = Path(root).expanduser()
        if not os.path.isdir(root):
            raise InputError(f"there is no folder {root}; check the path.")
        if os.path.isdir(root / "test"):
            self.categories = {root.resolve().name: root}
        else:
            self.categories = {
                folder.name: folder for folder in _folders(root) if os.path.isdir(folder / "test")
            }
        if not self.categories:
            raise InputError(
                f"{root} is not in MVTec layout: expected train/good, test/good, test/<defect> "
                "and ground_truth/<defect> in it, or in a folder per category."
            )

    def train(self, category: str) -> list[Sample]:
        """The normal pictures to refer to, `train/good`.

        Raises:
            InputError: an unknown category, or there are none.
        """
        folder = self._folder(category)
        samples = _pictures(folder, "train", "good")
        if not samples:
            raise InputError(f"{folder} has no normal pictures; expected them in train/good.")
        return _finish(samples, category, folder)

    def test(self, category: str) -> list[Sample]:
        """The pictures to score, with label, defect and, where there is one, mask.

        A normal picture has no mask: it is normal everywhere.

        Raises:
            InputError: an unknown category, or there are none.
        """
        folder = self._folder(category)
        samples = []
        for defect in _folders(folder / "test"):
            samples += _pictures(folder, "test", defect.name)
        if not samples:
            raise InputError(
                f"{folder} has no test pictures; expected them in test/good and test/<defect>."
            )
        return _finish(samples, category, folder)

    def _folder(self, category: str) -> Path:
        if category not in self.categories:
            raise InputError(
                f"unknown category {category!r}; there are: {', '.join(self.categories)}."
            )
        return self.categories[category]


def _pictures(category: Path, split: str, defect: str) -> list[Sample]:
    bad = defect != "good"
    masks = _masks(category / "ground_truth" / defect) if bad else {}
    return [
        Sample(path, id="", label=int(bad), defect=defect, mask=masks.get(path.stem))
        for path in _files(category / split / defect)
    ]


def _finish(samples: list[Sample], category: str, folder: Path) -> list[Sample]:
    """With ids below the category folder ("test/good/000")."""
    return with_ids((replace(sample, category=category), folder) for sample in samples)


def _masks(folder: Path) -> dict[str, Path]:
    """Stem of the picture -> mask, which is named alike, with or without "_mask"."""
    files = _files(folder)
    exact = {file.stem: file for file in files}
    named = {file.stem.removesuffix("_mask"): file for file in files if file.stem.endswith("_mask")}
    return exact | named


def _files(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if is_picture_name(path.name)]


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if os.path.isdir(path) and path.name[0] != "."]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(
            f"cannot list the folder {folder}: {error.strerror}; give a readable folder."
        ) from error
