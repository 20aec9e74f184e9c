"""Helpers shared by the readers of labelled data sets: folders, files, categories, samples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from vlad.datasets.folder import is_image_name
from vlad.datasets.ids import with_ids
from vlad.errors import InputError
from vlad.system.text import instead
from vlad.types import Sample

T = TypeVar("T")


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
    """Image files of a folder, sorted; none if there is no such folder."""
    return [path for path in entries(folder) if is_image_name(path.name)]


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
