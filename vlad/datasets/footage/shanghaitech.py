"""ShanghaiTech Campus: training videos, test frames, labels and masks as arrays.

Liu et al., "Future Frame Prediction for Anomaly Detection", CVPR 2018.
`training/videos/01_001.avi`, `testing/frames/01_0014/000.jpg`,
`testing/test_frame_mask/01_0014.npy` (n,), 1 for anomalous, and
`testing/test_pixel_mask/01_0014.npy` (n, H, W).
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np

from vlad.datasets.footage.clip import Clip, Truth, spans_of, video_files
from vlad.datasets.layout import existing_folder, folders, listed_file
from vlad.errors import InputError
from vlad.system.text import shown


class ShanghaiTech:
    """A ShanghaiTech folder.

    Raises:
        InputError: no such folder, or one without test frames and labels.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self._root = existing_folder(root)
        self._testing = self._root / "testing"
        self._tests = folders(self._testing / "frames")
        if not self._tests or not os.path.isdir(self._testing / "test_frame_mask"):
            raise InputError(
                f"{self._root} is not in ShanghaiTech layout; put training/videos/01_001.avi, "
                "testing/frames/01_0014/000.jpg and testing/test_frame_mask/01_0014.npy in it."
            )

    def train(self) -> list[Path]:
        """The normal videos."""
        return video_files(self._root / "training" / "videos")

    def test(self) -> list[Clip]:
        """The folders of test frames, with labels, and masks where they exist.

        Raises:
            InputError: a folder has no labels.
        """
        return [Clip(folder, partial(self._truth, self._labels(folder))) for folder in self._tests]

    def _labels(self, folder: Path) -> Path:
        return listed_file(self._testing / "test_frame_mask" / f"{folder.name}.npy", str(folder))

    def _truth(self, file: Path) -> Truth:
        flags = _array(file)
        masks = self._testing / "test_pixel_mask" / file.name
        mask = None
        if masks.is_file():
            pixels = _array(masks)

            def mask(number: int) -> np.ndarray:
                return np.asarray(pixels[number]) > 0

        return Truth(spans_of(flags > 0), len(flags), mask)


def _array(file: Path) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read {file} ({shown(error)}); copy the file of the set again."
        ) from error
