"""Detect the layout of a folder by file names that only one layout has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from vlad.datasets.layout import NORMAL, TRUTH, entries, existing_folder
from vlad.errors import InputError

# patterns, case-insensitive, all of those between +; the first name with a match wins
SIGNS = {
    "visa": ("split_csv/1cls.csv",),
    "real_iad": ("realiad_jsons",),
    "mvtec_ad_2": ("test_public", "*/test_public"),
    "kolektorsdd2": ("test/*_GT.png",),
    "kolektorsdd": ("kos*/*_label.bmp",),
    "btad": ("test/ok", "*/test/ok"),
    "mvtec": (
        *("test/good", "train/good", "test/normal", "train/normal"),
        *("*/test/good", "*/train/good", "*/test/normal", "*/train/normal"),
        *("test+ground_truth", "*/test+*/ground_truth"),
    ),
    "folder": (*NORMAL, *TRUTH),
}


def detect(root: str | os.PathLike) -> str:
    """The name in DATASETS of the layout of `root`.

    MPDD and MVTec LOCO share the layout "mvtec"; a file ending in .csv is "csv".

    Raises:
        InputError: no such folder, or no layout is recognised.
    """
    root = Path(root).expanduser()
    if root.suffix.lower() == ".csv" and not os.path.isdir(root):
        return "csv"
    root = existing_folder(root)
    for name, patterns in SIGNS.items():
        if any(all(_has(root, part.split("/")) for part in p.split("+")) for p in patterns):
            return name
    looked_for = ", ".join(f"{patterns[0]} ({name})" for name, patterns in SIGNS.items())
    raise InputError(
        f"{root} is in no known layout (it has none of {looked_for}); name its `layout`, such as "
        "mvtec, or sort the images into one."
    )


def _has(folder: Path, parts: Sequence[str]) -> bool:
    """Return whether something below a folder matches the patterns."""
    return not parts or any(
        fnmatch(path.name.casefold(), parts[0].casefold()) and _has(path, parts[1:])
        for path in entries(folder)
    )
