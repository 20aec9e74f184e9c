"""A labelled video, and helpers that the readers of such data sets share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlad.datasets.layout import entries
from vlad.errors import InputError

Spans = tuple[tuple[int, int], ...]
VIDEOS = (".avi", ".mp4", ".mkv", ".mov", ".webm")


@dataclass(frozen=True, eq=False)
class Truth:
    """Which frames of a video are anomalous, and where; frames are counted from 0.

    Attributes:
        spans: (first, stop) of each stretch of anomalous frames, without `stop`.
        frames: number of frames that have a label; None where labels only name stretches, so that
            every other frame is normal.
        mask: number of a frame -> its mask, (H, W) bool; None without masks.
        regions: (R, 6) float64, a row for each anomalous region: frame, x, y, width and height in
            pixels, number of its track; None without tracks.
    """

    spans: Spans = ()
    frames: int | None = None
    mask: Callable[[int], np.ndarray] | None = None
    regions: np.ndarray | None = None

    def labels(self, numbers: Iterable[int]) -> np.ndarray:
        """(n,) bool, whether each of these frames is anomalous.

        Raises:
            InputError: a frame has no label.
        """
        wanted = np.fromiter(numbers, np.int64)
        if self.frames is not None and wanted.size and wanted.max() >= self.frames:
            raise InputError(
                f"there is no label for frame {wanted.max()}, only for {self.frames} frames; give "
                "the labels of this video."
            )
        found = np.zeros(len(wanted), bool)
        for first, stop in self.spans:
            found |= (wanted >= first) & (wanted < stop)
        return found

    def fits(self, frames: int) -> bool:
        """Whether these may be the labels of a video with so many frames."""
        last = max((stop for _, stop in self.spans), default=0)
        return last <= frames if self.frames is None else self.frames == frames


@dataclass(frozen=True, eq=False)
class Clip:
    """A video with labels.

    Attributes:
        path: the file, or the folder of its frames.
        read: reads what is known of its frames; raises an InputError if a file is damaged.
    """

    path: Path
    read: Callable[[], Truth]


def spans_of(flags: np.ndarray) -> Spans:
    """(first, stop) of each stretch of true values of (n,)."""
    steps = np.diff(np.concatenate([[0], np.asarray(flags, bool).astype(np.int8), [0]]))
    firsts, stops = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return tuple(zip(firsts.tolist(), stops.tolist(), strict=True))


def video_files(folder: Path) -> list[Path]:
    """The video files in a folder, sorted by name, without hidden ones."""
    return [f for f in entries(folder) if f.suffix.lower() in VIDEOS and f.name[0] != "."]


def videos_below(folder: Path) -> dict[str, Path]:
    """Name without suffix -> video file, of all folders below one.

    Raises:
        InputError: two files have one name.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() not in VIDEOS or file.name[0] == ".":
            continue
        if file.stem in found:
            raise InputError(f"{found[file.stem]} and {file} have one name; remove one of them.")
        found[file.stem] = file
    return found


def lines_of(file: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        InputError: it cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {file} ({error}); unpack the set again.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
