"""Earlier versions of a saved detector: listed and restored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from vlad.calibration import Calibration
from vlad.detector.learned import MARKED
from vlad.detector.replacing import (
    check_version,
    complete,
    numbers,
    replace_files,
    version_folder,
)
from vlad.detector.saved import read_detector


@dataclass(frozen=True)
class Version:
    """What a detector was before it was replaced.

    Attributes:
        number: counted from 1, oldest first.
        time: when it was saved.
        learned: number of images that it learned from.
        calibration: its calibration, if it had one.
    """

    number: int
    time: datetime
    learned: int
    calibration: Calibration | None


def list_versions(folder: Path) -> list[Version]:
    """The kept versions of the detector in a folder, oldest first.

    Raises:
        InputError: one is damaged, or of a newer vlad.
    """
    return [_version(folder, number) for number in numbers(folder)]


def restore_version(folder: Path, number: int | None = None) -> tuple[int, int]:
    """Put a kept version in place of the detector in a folder, which is kept too.

    Args:
        number: of the version; None is the latest.

    Returns:
        the numbers of the version restored and of that kept.

    Raises:
        InputError: the version is damaged, or of a newer vlad.
        OutputError: there is no such version, or the folder is not writable.
    """
    complete(folder)
    number = check_version(folder, number)
    source = version_folder(folder, number)
    read_detector(source)  # a damaged one is not restored
    return number, replace_files(folder, source, lambda _: None)


def _version(folder: Path, number: int) -> Version:
    source = version_folder(folder, number)
    saved = read_detector(source)
    time = (source / "detector.json").stat().st_mtime
    learned = sum(not name.endswith(MARKED) for name in saved.learned)
    return Version(number, datetime.fromtimestamp(time, timezone.utc), learned, saved.calibration)
