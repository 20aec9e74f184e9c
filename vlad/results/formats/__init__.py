"""Formats of labelling and tracking tools that a finished run can be written in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from vlad.errors import InputError, OutputError
from vlad.results.formats import coco, fiftyone, labelstudio, yolo
from vlad.results.formats.findings import Findings
from vlad.results.formats.place import place
from vlad.system.files import cannot_write

Writer = Callable[[Findings, Path], None]

FORMATS: Mapping[str, Writer] = {
    "coco": coco.write,
    "yolo": yolo.write,
    "yolo-outlines": yolo.write_outlines,
    "labelstudio": labelstudio.write,
    "fiftyone": fiftyone.write,
}


def write_findings(
    found: Findings,
    form: str,
    out: str | Path,
    *,
    images: str | None = None,
    url_prefix: str | None = None,
) -> Findings:
    """Write what a run found as another program reads it.

    Args:
        form: a name of FORMATS.
        out: a new or empty folder; it is there in full or not at all.
        images: "copy" or "link" puts the images into it, under the names of their heat maps.
        url_prefix: as in `vlad.results.formats.labelstudio.write`, for that format alone.

    Returns:
        what was written: without images that are gone, if images are copied or linked.

    Raises:
        InputError: no image is left to write.
        OutputError: the folder cannot be written to, or is not empty.
    """
    out = Path(os.path.abspath(out))
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError(f"{out} is not an empty folder; choose another.")
    if not found.images:
        why = ", ".join(f"{number} {reason}" for reason, number in found.left_out.items())
        raise InputError(f"No image is left to write ({why}); score them again.")
    write = FORMATS[form]
    if url_prefix is not None:
        write = partial(labelstudio.write, url_prefix=url_prefix)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, suffix=".part") as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            if images:
                found = place(found, made, out, images)
            write(found, made)
            if out.exists():
                out.rmdir()
            os.rename(made, out)
    except OSError as error:
        raise cannot_write(out, error) from error
    return found
