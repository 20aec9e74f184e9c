"""Copies of a run's images, or links to them, in the folder of an export."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

from vlad.errors import InputError
from vlad.results.formats.findings import Findings, missing
from vlad.system.files import cannot_write
from vlad.system.text import shown

IMAGES = "images"
_ODD = re.compile(r"[^A-Za-z0-9.]")


def place(found: Findings, made: Path, out: Path, how: str) -> Findings:
    """Put the images into images/ of a folder, under their ids, which are names on every system.

    Args:
        made: the folder, which becomes `out`.
        out: what names are relative to afterwards.
        how: "copy", or "link" for symbolic links.

    Returns:
        the findings of the images that are still there, under their new names.

    Raises:
        InputError: none is where the run found it.
        OutputError: a file cannot be written.
    """
    gone = dict.fromkeys(missing(found), "no longer there")
    if found.images and len(gone) == len(found.images):
        raise InputError(
            f"none of the images is where the run found it (the first is {shown(min(gone))}); "
            "put them back."
        )
    found = found.without(gone)
    placed = []
    for image in found.images:
        source = image.sample.path
        name = f"{IMAGES}/{image.sample.id}{_ODD.sub('_', source.suffix)}"
        target = made / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if how == "copy":
                shutil.copyfile(source, target)
            else:
                target.symlink_to(os.path.abspath(source))
        except OSError as error:
            raise cannot_write(target, error) from error
        placed.append(replace(image, name=name))
    return replace(found, folder=out, images=placed, placed=True)
