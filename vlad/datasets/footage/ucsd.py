"""UCSD Ped1 and Ped2: frames as TIFF, a list of anomalous frames, masks.

Mahadevan et al., "Anomaly Detection in Crowded Scenes", CVPR 2010. `Train/Train001/001.tif`,
`Test/Test001/001.tif`; `Test/UCSDped2.m` has a line `gt_frame = [61:180];` for each test video,
frames counted from 1, ends included; `Test/Test001_gt/001.bmp` are masks, of some videos of Ped1
and all of Ped2.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

import numpy as np

from vlad.datasets.footage.clip import Clip, Spans, Truth, lines_of
from vlad.datasets.layout import existing_folder, folders
from vlad.errors import InputError
from vlad.images import read_mask

_LIST = re.compile(r"gt_frame\s*=\s*\[([^\]]*)\]")
_RANGE = re.compile(r"(\d+)(?:\s*:\s*(\d+))?")


class UCSDPed2:
    """A folder UCSDped2, or the folder above it.

    Raises:
        InputError: no such folder, or one without Train, Test and the list of anomalous frames.
    """

    name = "UCSDped2"

    def __init__(self, root: str | os.PathLike) -> None:
        root = existing_folder(root)
        self._root = root / self.name if os.path.isdir(root / self.name) else root
        self._spans = self._listed()

    def train(self) -> list[Path]:
        """The folders of normal frames."""
        return folders(self._root / "Train")

    def test(self) -> list[Clip]:
        """The folders of test frames with their labels, and masks where they exist."""
        return [
            Clip(folder, partial(_truth, folder, spans))
            for folder, spans in zip(self._tests(), self._spans, strict=True)
        ]

    def _tests(self) -> list[Path]:
        return [f for f in folders(self._root / "Test") if not f.name.endswith("_gt")]

    def _listed(self) -> list[Spans]:
        files = sorted((self._root / "Test").glob("*.m"))
        lists = [list(map(_spans, _LIST.findall("\n".join(lines_of(file))))) for file in files]
        found = max(lists, key=len, default=[])
        if not found or len(found) != len(self._tests()):
            raise InputError(
                f"{self._root} is not in {self.name} layout ({len(self._tests())} folders of test "
                f"frames, {len(found)} lists of anomalous ones); put Train/Train001, Test/Test001 "
                f"and Test/{self.name}.m in it."
            )
        return found


class UCSDPed1(UCSDPed2):
    """A folder UCSDped1, or the folder above it."""

    name = "UCSDped1"


def _spans(text: str) -> Spans:
    """Those of a list such as 61:90, 100:180."""
    return tuple((int(a) - 1, int(b or a)) for a, b in _RANGE.findall(text))


def _truth(folder: Path, spans: Spans) -> Truth:
    masks = folder.with_name(f"{folder.name}_gt")

    def mask(number: int) -> np.ndarray:
        return read_mask(masks / f"{number + 1:03}.bmp")

    return Truth(spans, mask=mask if os.path.isdir(masks) else None)
