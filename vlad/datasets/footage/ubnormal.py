"""UBnormal: drawn scenes, with a mask for each object and frame.

Acsintoae et al., "UBnormal", CVPR 2022. `Scene1/abnormal_scene_1_scenario_1.mp4`, and beside it
`abnormal_scene_1_scenario_1_annotations` with `..._tracks.txt` (lines: number of an anomalous
object, its first and last frame, counted from 0) and `..._0000_gt.png`, whose values are the
numbers of objects. `normal_test_video_names.txt` and the other lists lie in the folder, or in
`scripts` of the authors' repository.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from vlad.datasets.footage.clip import Clip, Truth, lines_of
from vlad.datasets.layout import existing_folder, listed_file
from vlad.errors import ImageError, InputError

_NAMES = "{}_video_names.txt"


class UBnormal:
    """A UBnormal folder.

    Raises:
        InputError: no such folder, or one without the lists of videos.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self._root = existing_folder(root)
        near = (self._root / part for part in ("", "scripts", "Split"))
        lists = next((f for f in near if (f / _NAMES.format("abnormal_test")).is_file()), None)
        if lists is None:
            raise InputError(
                f"{self._root} is not in UBnormal layout; put Scene1, Scene2 and so on and "
                "abnormal_test_video_names.txt of the authors' repository in it."
            )
        self._lists = lists

    def train(self) -> list[Path]:
        """The normal videos of the training split.

        Raises:
            InputError: a file is missing.
        """
        return self._videos("normal_training")

    def test(self) -> list[Clip]:
        """The test videos, with labels, masks and tracks.

        Raises:
            InputError: a file is missing.
        """
        normal = [Clip(video, Truth) for video in self._videos("normal_test")]
        bad = [Clip(video, partial(_truth, video)) for video in self._videos("abnormal_test")]
        return normal + bad

    def _videos(self, split: str) -> list[Path]:
        file = self._lists / _NAMES.format(split)
        return [
            listed_file(self._root / f"Scene{_scene(name, file)}" / f"{name}.mp4", str(file))
            for name in sorted(lines_of(file))
        ]


def _scene(name: str, file: Path) -> str:
    parts = name.split("_")
    if len(parts) < 3:
        raise InputError(f"{file} lists {name}, which names no scene; copy the file again.")
    return parts[2]


def _truth(video: Path) -> Truth:
    folder = video.with_name(f"{video.stem}_annotations")
    tracks = _tracks(folder, video.stem)

    def file(number: int) -> Path:
        return folder / f"{video.stem}_{number:04}_gt.png"

    def mask(number: int) -> np.ndarray:
        values = _values(file(number))
        shown = [key for key, first, stop in tracks if first <= number < stop]
        return np.isin(values, shown)

    rows = []
    for track, (key, first, stop) in enumerate(tracks):
        for number in range(first, stop):
            box = _largest(_values(file(number)) == key)
            if box:  # an object may be hidden for a while
                rows.append((number, *box, track))
    spans = tuple((first, stop) for _, first, stop in tracks)
    return Truth(spans, mask=mask, regions=np.array(rows, float).reshape(-1, 6))


def _tracks(folder: Path, name: str) -> list[tuple[int, int, int]]:
    """Number of each anomalous object, its first frame, and the one after its last."""
    corrected = folder / f"{name}_new_tracks.txt"
    file = corrected if corrected.is_file() else folder / f"{name}_tracks.txt"
    try:
        found = [tuple(int(float(x)) for x in line.split(",")) for line in lines_of(file)]
        return [(key, first, last + 1) for key, first, last in found]
    except ValueError as error:
        raise InputError(
            f"{file} has a line that is not three numbers; copy the file again."
        ) from error


def _values(file: Path) -> np.ndarray:
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("L"))
    except OSError as error:
        raise ImageError(f"cannot read the mask {file}; unpack the set again.") from error


def _largest(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """x, y, width and height of the region with the largest box, as the authors choose it."""
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    boxes = [
        (x.start, y.start, x.stop - x.start, y.stop - y.start)
        for y, x in ndimage.find_objects(parts)
    ]
    return max(boxes, key=lambda box: box[2] * box[3], default=None)
