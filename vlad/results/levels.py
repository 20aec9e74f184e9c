"""Which images of a finished run a file of labels is about."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vlad.datasets.manifest import read_manifest
from vlad.errors import InputError
from vlad.results.folder import RunFolder
from vlad.scoring.record import LENGTH, digest_of
from vlad.system.spreadsheet import read_rows
from vlad.system.text import and_more, counted, path_of, printable, shown

_DIGEST = re.compile(rf"[0-9a-f]{{{LENGTH}}}")


def read_levels(path: str | Path, run: RunFolder) -> tuple[dict[str, int], list[str]]:
    """The labels of a run's images, from a manifest or from labels.csv of the report.

    Paths are relative to the folder of the file. Where no file is there, they are looked for among
    the paths of the run as they stand, so that the file may be saved anywhere.

    Returns:
        real path -> 0 for normal, 1 or more for how bad; and the labelled paths that have no
        score in the run.

    Raises:
        InputError: an invalid file, no label in it, none or two different ones of an image, or a
            digest that is not that of the image now.
    """
    path = Path(path).expanduser()
    # the report cannot write the bytes of a name that is not UTF-8
    as_written = {
        printable(row.path): os.path.realpath(row.path)
        for row in run.rows.values()
        if row.error is None
    }
    real = {printable(known): known for known in as_written.values()}
    rows = {path.parent / row["path"]: row for _, row in read_rows(path, "manifest", "path,label")}
    labelled = [sample for sample in read_manifest(path) if sample.label is not None]
    levels: dict[str, int] = {}
    unknown: list[str] = []
    changed: list[str] = []
    for sample in labelled:
        written = path_of(rows[sample.path]["path"])
        found = real.get(os.path.realpath(sample.path))
        if found is None and not os.path.exists(sample.path):
            found = as_written.get(written, real.get(os.path.realpath(written)))
        if found is None:
            unknown.append(written)
            continue
        assert sample.label is not None
        level = sample.label if sample.severity is None else sample.severity
        if levels.setdefault(found, level) != level:
            raise InputError(f"{path} labels {shown(found)} twice, and differently; keep one line.")
        if _changed(found, rows[sample.path], path):
            changed.append(written)
    if not labelled:
        raise InputError(f"{path} has no labels; add a column label with 0 or 1.")
    if not levels:
        raise InputError(f"none of the labelled images is in {run}; label images of that run.")
    if changed:
        raise InputError(
            f"{counted(len(changed), 'image')} changed since {path} was written: "
            f"{shown(and_more(changed, 3))}; label them again, or remove their lines."
        )
    return levels, unknown


def _changed(file: str, row: dict[str, str], path: Path) -> bool:
    """Whether a file is not the one that was labelled, as far as its row tells."""
    # another program's column of this name may hold anything
    digest = row["digest"].lower() if {"digest", "by", "time"} <= set(row) else ""
    if digest and not _DIGEST.fullmatch(digest):
        raise InputError(
            f"{path}: the digest {shown(repr(row['digest']))} is not {LENGTH} hexadecimal digits, "
            "as if a spreadsheet took it for a number; copy the original, or leave it out."
        )
    return bool(digest) and os.path.isfile(file) and digest_of(Path(file)) != digest
