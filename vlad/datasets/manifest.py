"""Images listed in a CSV manifest."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from vlad.datasets.ids import with_ids
from vlad.errors import InputError
from vlad.system.spreadsheet import read_rows
from vlad.system.text import shown
from vlad.types import Sample

_LABELS = {
    **dict.fromkeys(("0", "normal", "ok", "good", "false"), 0),
    **dict.fromkeys(("1", "anomalous", "defective", "ng", "nok", "bad", "true"), 1),
    "": None,
}


def read_manifest(path: str | os.PathLike, split: str | None = None) -> list[Sample]:
    """List the images of a CSV manifest in order, each once.

    The first line, or that below Excel's `sep=;`, names the columns: `path`, and any of `category`,
    `label` (0, normal, ok, good or false; 1, anomalous, defective, ng, nok, bad or true),
    `severity` (a whole number, 0 for normal), `mask` and `split`; others are ignored. A severity
    implies a missing label. Columns are separated by comma, semicolon or tab. Paths are relative to
    the folder of the manifest. Images need not exist until they are read.

    Args:
        path: a UTF-8 file, with or without a byte-order mark.
        split: keep only the rows of this split; None keeps all.

    Raises:
        InputError: unreadable, no `path` column, no rows, or an invalid line, with its number.
    """
    return with_ids(find_listed(path, split))


def find_listed(path: str | os.PathLike, split: str | None = None) -> list[tuple[Sample, Path]]:
    """As `read_manifest`, without ids yet, each with the folder it is relative to."""
    path = Path(path).expanduser()
    found: dict[Path, Sample] = {}
    lines: dict[Path, int] = {}
    for line, row in _rows(path):
        if split is not None and row.get("split", "") != split:
            continue
        sample = _sample(row, path.parent, f"line {line} of {path}")
        known = found.setdefault(sample.path, sample)
        if sample != known:
            raise InputError(
                f"line {line} of {path}: {row['path']} is already on line {lines[sample.path]} "
                "with other values; keep one of them."
            )
        lines.setdefault(sample.path, line)
    if not found:
        of_split = "" if split is None else f" of split {split!r}"
        raise InputError(f"{path} lists no images{of_split}; add a line for each.")
    return [(sample, _folder(sample.path, path.parent)) for sample in found.values()]


def listed_splits(path: Path) -> set[str]:
    """The values of the column `split`; "" for rows without."""
    return {row.get("split", "") for _, row in _rows(path)}


def _sample(row: dict[str, str], folder: Path, where: str) -> Sample:
    if not row["path"] or "\0" in row["path"]:
        raise InputError(f"{where}: the path is empty; fill it in or delete the line.")
    label = _whole(row.get("label", "").lower())
    if label not in _LABELS:
        raise InputError(
            f"{where}: the label {shown(repr(row['label']))} is unknown; write 0 or normal, 1 or "
            "anomalous, or nothing."
        )
    severity = _severity(_whole(row.get("severity", "")), where)
    known = None if severity is None else int(severity > 0)
    if label and known not in (None, _LABELS[label]):
        raise InputError(
            f"{where}: the label {row['label']} and the severity {severity} contradict each other; "
            "write 0 for normal images only."
        )
    mask = row.get("mask")
    return Sample(
        path=folder / row["path"],
        id="",
        category=row.get("category") or None,
        label=_LABELS[label] if label else known,
        mask=folder / mask if mask else None,
        severity=severity,
    )


def _whole(cell: str) -> str:
    """A number without the zeros that spreadsheets write behind it."""
    return re.sub(r"(?<=\d)[.,]0+$", "", cell)


def _severity(cell: str, where: str) -> int | None:
    if not cell:
        return None
    if not cell.isdecimal() or len(cell) > 9:
        raise InputError(
            f"{where}: the severity {shown(repr(cell))} is not a whole number; write 0 for normal, "
            "1 or more for anomalous, or nothing."
        )
    return int(cell)


def _folder(path: Path, folder: Path) -> Path:
    below = Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))
    return folder if below else path.parent


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    return read_rows(path, "manifest", "path,category,label,mask,split")
