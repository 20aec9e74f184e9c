"""Helpers shared by the readers of labelled data sets: folders, files, categories, samples."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from vlad.datasets.folder import walk, warn_of_passed
from vlad.datasets.ids import with_ids
from vlad.errors import InputError
from vlad.system.text import and_more, instead
from vlad.types import Sample

T = TypeVar("T")
NORMAL = ("good", "normal", "ok")  # folders of normal images, in any case of letters
TRUTH = ("ground_truth", "groundtruth", "ground-truth", "gt", "masks", "mask")


class Splits(ABC):
    """A labelled set that reads its training and its test split alike, by `_split`."""

    def train(self, category: str) -> list[Sample]:
        """The normal images of the training split.

        Raises:
            InputError: an unknown category, there are none, or what the set lists is unusable.
        """
        return self._split(category, "train")

    def test(self, category: str) -> list[Sample]:
        """The images to score, with label and, for defects, kind and mask.

        Raises:
            InputError: as `train`.
        """
        return self._split(category, "test")

    @abstractmethod
    def _split(self, category: str, split: str) -> list[Sample]: ...


def existing_folder(root: str | os.PathLike) -> Path:
    """`root` as a path.

    Raises:
        InputError: it is not a folder.
    """
    root = Path(root).expanduser()
    if not os.path.isdir(root):
        raise InputError(f"there is no folder {root}; check the path.")
    return root


def of_category(categories: Mapping[str, T], category: str) -> T:
    """The value of a category.

    Raises:
        InputError: an unknown category.
    """
    if category not in categories:
        raise InputError(f"unknown category {category!r}{instead(category, categories)}")
    return categories[category]


def finish(samples: Iterable[Sample], category: str, folder: Path) -> list[Sample]:
    """The samples of a category, with ids below `folder` ("test/good/000")."""
    return with_ids((replace(sample, category=category), folder) for sample in samples)


def listed_file(path: Path, where: str) -> Path:
    """`path`, as listed by the data set at `where`.

    Raises:
        InputError: it does not exist.
    """
    if not os.path.isfile(path):
        raise InputError(f"{where} names {path}, which does not exist; unpack the set again.")
    return path


def images(folder: Path) -> list[Path]:
    """Image files below a folder, sorted by path; none if there is no such folder."""
    return [Path(path) for path in walk(str(folder), [])] if os.path.isdir(folder) else []


def warn_of_rest(folder: Path, samples: Iterable[Sample], but: Iterable[Path] = ()) -> None:
    """Warn once of the files below a folder that are not samples.

    Args:
        but: files and folders that serve another purpose.
    """
    rest = _rest(folder, [*(sample.path for sample in samples), *but])
    warn_of_passed(rest, "not an image, or in no folder of its kind")


def warn_of_masks(folder: Path, samples: Iterable[Sample]) -> None:
    """Warn once of the masks below a folder that belong to no defective image."""
    if rest := loose_masks(folder, samples):
        warnings.warn(
            f"{len(rest)} of the masks match no image: {and_more(rest, 3)}; name "
            "each as its image, with or without _mask, in a folder named as that of the image",
            stacklevel=3,
        )


def loose_masks(folder: Path, samples: Iterable[Sample]) -> list[str]:
    """The masks below a folder that belong to no defective image."""
    normal = (kind for kind in folders(folder) if is_normal(kind.name))  # black, or should be
    return _rest(folder, [*(sample.mask for sample in samples if sample.mask), *normal])


def _rest(folder: Path, used: Iterable[Path]) -> list[str]:
    known = {str(path) for path in used}
    others: list[str] = []
    every = [*walk(str(folder), others), *others] if os.path.isdir(folder) else []
    return [f for f in every if not known & {f, *map(str, Path(f).parents)}]


def is_normal(folder: str) -> bool:
    """Return whether a folder of this name holds normal images."""
    return folder.casefold() in NORMAL


def named(folder: Path, *names: str) -> Path:
    """The subfolder with one of these names, case-insensitive; by default the first name."""
    exact = (folder / name for name in names)
    alike = (path for path in folders(folder) if path.name.casefold() in names)
    return next((p for p in (*exact, *alike) if os.path.isdir(p)), folder / names[0])


def folders(folder: Path) -> list[Path]:
    """Folders in a folder, sorted, without hidden ones; none if there is no such folder."""
    return [path for path in entries(folder) if os.path.isdir(path) and path.name[0] != "."]


def entries(folder: Path) -> list[Path]:
    """The content of a folder, sorted by name; nothing if there is no such folder.

    Raises:
        InputError: it is unreadable.
    """
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(
            f"cannot list the folder {folder}: {error.strerror}; give a readable folder."
        ) from error
