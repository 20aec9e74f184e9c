"""Which layout a folder is in, told by the names in it that only one layout has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from vlad.datasets.layout import NORMAL, TRUTH, entries, existing_folder
from vlad.errors import InputError

# patterns, in any case of letters, all of those between +; the first name that has a match
SIGNS = {
    "visa": ("split_csv/1cls.csv",),
    "real_iad": ("realiad_jsons",),
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
    """The name in DATASETS of the layout that `root` is in.

    MPDD and MVTec LOCO go by "mvtec", whose layout they share; a file ending in .csv is "csv".

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
        f"{root} is in no known layout; looked for {looked_for} in it; name its `layout`, as "
        "in mvtec, or sort the images so."
    )


def _has(folder: Path, parts: Sequence[str]) -> bool:
    """Whether there is something by these patterns below a folder."""
    return not parts or any(
        fnmatch(path.name.casefold(), parts[0].casefold()) and _has(path, parts[1:])
        for path in entries(folder)
    )
