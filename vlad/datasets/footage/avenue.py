"""CUHK Avenue: videos, and a mask for each test frame.

Lu et al., "Abnormal Event Detection at 150 FPS in MATLAB", ICCV 2013. `training_videos/01.avi`,
`testing_videos/01.avi`, and `1_label.mat` in `testing_label_mask` or in
`ground_truth_demo/testing_label_mask`: the variable volLabel, a cell with the mask of each frame. A
frame is anomalous if its mask is not all zero.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np

from vlad.datasets.footage.clip import Clip, Truth, spans_of, video_files
from vlad.datasets.layout import existing_folder, listed_file
from vlad.errors import InputError
from vlad.system.text import shown


class Avenue:
    """An Avenue folder.

    Raises:
        InputError: no such folder, or one without test videos and masks.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self._root = existing_folder(root)
        near = [
            above / part / "testing_label_mask"
            for above in (self._root, self._root.parent)
            for part in ("", "ground_truth_demo")
        ]
        masks = next((folder for folder in near if os.path.isdir(folder)), None)
        self._tests = video_files(self._root / "testing_videos")
        if masks is None or not self._tests:
            raise InputError(
                f"{self._root} is not in Avenue layout; put training_videos/01.avi, "
                "testing_videos/01.avi and testing_label_mask/1_label.mat in it."
            )
        self._masks = masks

    def train(self) -> list[Path]:
        """The normal videos."""
        return video_files(self._root / "training_videos")

    def test(self) -> list[Clip]:
        """The test videos, with labels and masks.

        Raises:
            InputError: a video has no masks.
        """
        return [Clip(video, partial(_truth, self._file(video))) for video in self._tests]

    def _file(self, video: Path) -> Path:
        return listed_file(self._masks / f"{video.stem.lstrip('0')}_label.mat", str(video))


def _truth(file: Path) -> Truth:
    from scipy.io import loadmat

    try:
        masks = loadmat(file)["volLabel"].ravel()
        flags = np.array([bool(np.any(mask)) for mask in masks])
    except Exception as error:  # the reader raises anything for a damaged file
        raise InputError(
            f"cannot read {file} ({shown(error)}); copy the file of the set again."
        ) from error
    return Truth(spans_of(flags), len(flags), lambda number: np.asarray(masks[number]) > 0)
