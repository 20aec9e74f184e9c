"""Tracks of anomalous regions, as two groups of authors published them for test videos.

Georgescu et al. (TPAMI 2021, for ShanghaiTech): `VIDEO.txt` with lines `track,frame,x_min,y_min,
x_max,y_max`, frames from 0. Ramachandra and Jones (WACV 2020, for UCSD Ped, Avenue and Street
Scene): `Test001_gt.txt` with lines `001.tif track column row width height`, frames from 1, of the
middle of a box. Edges are part of a box.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from vlad.datasets.footage.clip import lines_of
from vlad.errors import InputError


def find_tracks(folder: Path, video: str) -> Path | None:
    """The file of a video's tracks, or None.

    Args:
        video: name of the video without suffix, as 01_0014, Test001 or 01.
    """
    number = re.sub(r"\D", "", video)
    names = [video, f"{video}_gt", *([f"Test{int(number):03}_gt"] if number == video else [])]
    return next((f for f in (folder / f"{name}.txt" for name in names) if f.is_file()), None)


def read_tracks(file: Path) -> np.ndarray:
    """(R, 6) float64: frame, x, y, width and height in pixels, track, as in `Truth`.

    Raises:
        InputError: it cannot be read, or a line is in neither form.
    """
    rows = []
    for line in lines_of(file):
        try:
            rows.append(_corners(line) if "," in line else _middle(line))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{file} has the line {line[:80]!r}; write track,frame,x_min,y_min,x_max,y_max."
            ) from error
    return np.array(rows, np.float64).reshape(-1, 6)


def _corners(line: str) -> tuple[float, ...]:
    track, frame, left, top, right, bottom = map(float, line.split(","))
    return frame, left, top, right - left + 1, bottom - top + 1, track


def _middle(line: str) -> tuple[float, ...]:
    name, *rest = line.split()
    track, column, row, width, height = map(float, rest)
    left, top = math.floor(column - width / 2), math.floor(row - height / 2)
    frame = int(re.sub(r"\D", "", name.partition(".")[0])) - 1
    return frame, left, top, math.ceil(width), math.ceil(height), track
