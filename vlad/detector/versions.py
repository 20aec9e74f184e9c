"""Earlier versions of a saved detector: what they were, and one restored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from vlad.calibration import Calibration
from vlad.detector.files import SETTINGS
from vlad.detector.learned import MARKED
from vlad.detector.replacing import check_version, complete, replace_files, version_folder
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


def read_version(folder: Path, number: int) -> Version:
    """A kept version of the detector in a folder.

    Raises:
        InputError: it is damaged, or of a newer vlad.
    """
    source = version_folder(folder, number)
    saved = read_detector(source)
    time = (source / SETTINGS).stat().st_mtime
    learned = sum(not name.endswith(MARKED) for name in saved.learned)
    return Version(number, datetime.fromtimestamp(time, timezone.utc), learned, saved.calibration)


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
