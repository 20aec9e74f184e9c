"""Sources of images: files, folders, patterns, manifests and labelled data sets.

Other packages register layouts under the entry-point group "vlad.datasets".
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from vlad.datasets.detect import detect
from vlad.datasets.folder import Paths, find_images, one_or_many, warn_of_passed
from vlad.datasets.ids import with_ids
from vlad.datasets.manifest import find_listed
from vlad.errors import InputError
from vlad.system import plugins
from vlad.system.text import instead
from vlad.types import Sample

# name -> "module:callable" that takes the root folder; imported on request
DATASETS = {
    "mvtec": "vlad.datasets.mvtec:MVTec",
    "mvtec_loco": "vlad.datasets.mvtec:MVTec",
    "mvtec_ad_2": "vlad.datasets.mvtec_ad_2:MVTecAD2",
    "mpdd": "vlad.datasets.mvtec:MVTec",
    "btad": "vlad.datasets.mvtec:BTAD",
    "visa": "vlad.datasets.visa:VisA",
    "kolektorsdd": "vlad.datasets.kolektor:KolektorSDD",
    "kolektorsdd2": "vlad.datasets.kolektor:KolektorSDD2",
    "real_iad": "vlad.datasets.real_iad:RealIAD",
    "folder": "vlad.datasets.labelled:LabelledFolder",
    "csv": "vlad.datasets.labelled:Manifest",
}


def load_dataset(name: str, root: str | os.PathLike) -> Any:
    """Open the labelled data set in folder `root`, in the layout `name`.

    Args:
        name: one of DATASETS or of an installed package, or "auto" to detect it from the content of
            `root`.
        root: the folder, or the manifest for "csv".

    Returns:
        an object with `categories` (mapping by name), `train(category)` and `test(category)`; both
        return lists of Sample, as in `MVTec`. It may also have `validation(category)`, normal
        images that thresholds are set on, and `unlabelled(category)`, as in `MVTecAD2`.

    Raises:
        InputError: an unknown name, or a folder that is not in that layout.
    """
    if name == "auto":
        name = detect(root)
    found = plugins.load("vlad.datasets", name, DATASETS)
    if found is None:
        known = ["auto", *plugins.names("vlad.datasets", DATASETS)]
        raise InputError(f"unknown data set layout {name!r}{instead(name, known)}")
    return found(root)


def list_samples(paths: Paths, out: str | os.PathLike | None = None) -> list[Sample]:
    """List the images of files, folders, patterns and CSV manifests, each once.

    Args:
        paths: one or several; a file ending in .csv is a manifest (`read_manifest`), all others
            are as in `list_images`. An image listed twice keeps its first position and values.
        out: the output folder; its files are not input.

    Raises:
        InputError: as `list_images` and `read_manifest`.
    """
    found = []
    passed: list[str] = []
    for path in one_or_many(paths):
        is_manifest = os.fspath(path).lower().endswith(".csv") and not os.path.isdir(path)
        found += find_listed(path) if is_manifest else find_images([path], passed)
    if out is not None:
        written = Path(out).resolve()

        @cache  # resolving is most of the time of listing many files
        def is_output(folder: str) -> bool:
            real = Path(folder).resolve()
            return written in (real, *real.parents)

        def is_input(file: str | os.PathLike) -> bool:
            real = os.path.realpath(file) if os.path.islink(file) else file
            return not is_output(os.path.dirname(real))

        found = [pair for pair in found if is_input(pair[0].path)]
        passed = [file for file in passed if is_input(file)]
    warn_of_passed(passed)
    return with_ids(found)
