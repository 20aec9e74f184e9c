"""VisA, with the authors' split.

Zou et al., "SPot-the-Difference", ECCV 2022. `split_csv/1cls.csv` (one-class split, from
github.com/amazon-science/spot-diff) has a line per image with the columns object, split, label,
image and mask, with paths relative to the root, such as `candle/Data/Images/Normal/0000.JPG` and
`candle/Data/Masks/Anomaly/000.png`. Folders converted to MVTec layout are read as `mvtec`.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

from vlad.datasets.layout import Splits, existing_folder, finish, listed_file, of_category
from vlad.errors import InputError
from vlad.system.resources import check_regular
from vlad.system.text import shown
from vlad.types import Sample

SPLIT = Path("split_csv", "1cls.csv")
_COLUMNS = ("object", "split", "label", "image", "mask")
_LABELS = {"normal": 0, "anomaly": 1}

Row = tuple[int, dict[str, str]]  # line number, cells by column


class VisA(Splits):
    """A VisA folder, with its own CSV split.

    The kind of defect is always "anomaly", as in the split; a mask is there if the CSV names one.

    Attributes:
        categories: name -> folder, sorted by name.

    Raises:
        InputError: no such folder, no CSV in it, or an invalid line.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self._root = existing_folder(root)
        self._rows = _read(self._root)
        names = sorted({row["object"] for _, row in self._rows})
        self.categories = {name: self._root / name for name in names}

    def _split(self, category: str, split: str) -> list[Sample]:
        folder = of_category(self.categories, category)
        samples = [
            self._sample(line, row)
            for line, row in self._rows
            if row["object"] == category and row["split"] == split
        ]
        if split == "train":
            samples = [sample for sample in samples if sample.label == 0]
        if not samples:
            raise InputError(
                f"{self._root / SPLIT} lists no {split} images of {category}; copy it again."
            )
        return finish(samples, category, folder)

    def _sample(self, line: int, row: dict[str, str]) -> Sample:
        where = f"line {line} of {self._root / SPLIT}"
        label = _LABELS[row["label"]]
        return Sample(
            path=listed_file(self._root / row["image"], where),
            id="",
            label=label,
            defect="anomaly" if label else "good",
            mask=listed_file(self._root / row["mask"], where) if label and row["mask"] else None,
        )


def _read(root: Path) -> list[Row]:
    path = root / SPLIT
    try:
        check_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            if not set(_COLUMNS) <= set(reader.fieldnames or ()):
                raise InputError(
                    f"the first line of {path} must name the columns {','.join(_COLUMNS)}; "
                    "copy the file again."
                )
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError as error:
        raise InputError(
            f"{root} is not in VisA layout; put {SPLIT.as_posix()} and a folder per category in it."
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its permissions.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not UTF-8 CSV text; copy the file again.") from error
    for line, row in rows:
        if row["split"] not in ("train", "test") or row["label"] not in _LABELS:
            raise InputError(
                f"line {line} of {path} has split {shown(repr(row['split']))} and label "
                f"{shown(repr(row['label']))}; write train or test, and normal or anomaly."
            )
    return rows
