"""labels.csv: which images people called good or defective.

    path,label,kind,digest,by,time
    parts/17.png,defective,scratch,0f3a...,anna,2026-11-29T15:02:00Z

The report and the service write it, people edit it in spreadsheets, `vlad review` reads it.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from vlad.errors import InputError
from vlad.system.files import atomic_write
from vlad.system.spreadsheet import read_rows
from vlad.system.text import counted, csv_line, csv_path, csv_text, encode, path_of, shown

HEADER = ("path", "label", "kind", "digest", "by", "time")
GOOD, DEFECTIVE = "good", "defective"
_DIGEST = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class Label:
    """What one person said about one image.

    Attributes:
        path: of the image, as in the run or the service that showed it.
        label: "good" or "defective".
        kind: kind of defect, or "".
        digest: of the file's content when it was shown (`vlad.scoring.record.digest_of`), or "".
        by: name of the person, or "".
        time: when it was said, with a time zone; None if unknown.
    """

    path: str
    label: str
    kind: str = ""
    digest: str = ""
    by: str = ""
    time: datetime | None = None

    @property
    def defective(self) -> bool:
        return self.label == DEFECTIVE


def read_labels(path: str | os.PathLike[str]) -> list[Label]:
    """The labels in a file: of each person the last about each image.

    That is the one with the latest time or, where one of two has no time, the lower one. A row
    without a label takes an earlier one back. Columns may stand in any order, and be separated by
    comma, semicolon or tab; all but `path` and `label` may be missing.

    Raises:
        InputError: an unreadable file, no label in it, or an invalid line, with its number.
    """
    path = Path(path)
    rows = []
    for line, row in read_rows(path, "labels", ",".join(HEADER)):
        _check_columns(row, path)
        rows.append(_label(row, f"line {line} of {path}"))
    found = last_of_each(rows)
    labels = [label for label in found if label.label]
    if blank := {label.path for label in found} - {label.path for label in labels}:
        warnings.warn(
            f"{counted(len(blank), 'image')} of {path} without a label left out", stacklevel=2
        )
    if not labels:
        raise InputError(f"{path} has no labels; write good or defective into its column label.")
    return labels


def last_of_each(labels: Iterable[Label]) -> list[Label]:
    """Of each person the last label about each image, as `read_labels` tells it."""
    last: dict[int, Label] = {}
    places: dict[tuple[str, str], int] = {}  # person, and path or digest -> place in it
    for place, label in enumerate(labels):
        keys = [(label.by, name) for name in (label.path, label.digest) if name]
        before = {places[key] for key in keys if places.get(key) in last}
        if not any(_is_older(label, last[other]) for other in before):
            for other in before:
                del last[other]
            last[place] = label
            places |= dict.fromkeys(keys, place)
    return list(last.values())


def write_labels(labels: Iterable[Label], path: str | os.PathLike[str]) -> Path:
    """Write a file of labels.

    Raises:
        OutputError: the file is not writable.
    """
    lines = [csv_line(HEADER), *map(label_line, labels)]
    return atomic_write(Path(path), encode("".join(lines)))


def label_line(label: Label) -> str:
    """A label as a line of the file, with its line end."""
    time = "" if label.time is None else label.time.astimezone(timezone.utc).isoformat()
    words = (csv_text(label.kind), label.digest, csv_text(label.by), time.replace("+00:00", "Z"))
    return csv_line((csv_path(label.path), label.label, *words))


def _is_older(label: Label, other: Label) -> bool:
    return label.time is not None and other.time is not None and label.time < other.time


def _check_columns(row: dict[str, str], path: Path) -> None:
    if "label" not in row:
        raise InputError(
            f"the first line of {path} has no column label; begin with {','.join(HEADER)}."
        )
    if unknown := [name for name in row if name not in HEADER]:
        raise InputError(
            f"the first line of {path} names an unknown column {shown(repr(unknown[0]))}; remove "
            f"it, or name it as one of {','.join(HEADER)}."
        )


def _label(row: dict[str, str], where: str) -> Label:
    name = path_of(row["path"])
    if not name or "\0" in name:
        raise InputError(f"{where}: the path is empty; fill it in or delete the line.")
    word = row["label"].lower()
    if word not in (GOOD, DEFECTIVE, ""):
        raise InputError(
            f"{where}: the label {shown(repr(row['label']))} is unknown; write good, defective or "
            "nothing."
        )
    kind = row.get("kind", "")
    if kind and word == GOOD:
        raise InputError(
            f"{where}: a good image has the kind of defect {shown(repr(kind))}; write defective, "
            "or leave the kind out."
        )
    digest = row.get("digest", "").lower()
    if digest and not _DIGEST.fullmatch(digest):
        raise InputError(
            f"{where}: the digest {shown(repr(row['digest']))} is not 16 hexadecimal digits, as if "
            "a spreadsheet took it for a number; copy the original, or leave it out."
        )
    return Label(name, word, kind, digest, row.get("by", ""), _time(row.get("time", ""), where))


def _time(cell: str, where: str) -> datetime | None:
    if not cell:
        return None
    try:
        # Python 3.10 does not read the Z
        time = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", cell))
    except ValueError as error:
        raise InputError(
            f"{where}: the time {shown(repr(cell))} is not like 2026-11-29T15:02:00Z, as if a "
            "spreadsheet rewrote it; copy the original, or leave it out."
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
