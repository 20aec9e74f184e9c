"""What a run over video keeps of each frame besides its scores, in its file frames.jsonl.

A line a frame: path, the largest value of each head's map, and the regions above the head's pixel
threshold. Lines are appended before the rows of their frames, so every row of a run that was killed
has its line; where a frame has several, the last one counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from vlad.results.lines import append_lines, read_lines
from vlad.time.tracks import Box

FILE = "frames.jsonl"
MOST = 20  # regions kept of a frame and head, highest score first


@dataclass(frozen=True)
class FrameNote:
    """What is kept of one frame.

    Attributes:
        path: its row.
        maxima: head -> largest value of its map.
        regions: head -> boxes with their scores, highest first.
    """

    path: str
    maxima: Mapping[str, float] = field(default_factory=dict)
    regions: Mapping[str, list[tuple[Box, float]]] = field(default_factory=dict)


def append_notes(out: Path, notes: Iterable[FrameNote]) -> None:
    """Append lines to the file in the folder of a run.

    Raises:
        OutputError: the file cannot be written.
    """
    append_lines(out / FILE, map(_values, notes))


def read_notes(out: Path, only: Collection[str] | None = None) -> dict[str, FrameNote]:
    """Path -> what was kept of the frame.

    Args:
        only: the paths to read; None reads all.
    """
    found = {}
    for values in read_lines(out / FILE):
        with suppress(ValueError, TypeError, AttributeError):  # no note
            path, maxima, regions = values
            if only is not None and path not in only:
                continue
            boxes = {
                head: [((x, y, width, height), score) for x, y, width, height, score in rows]
                for head, rows in regions.items()
            }
            found[path] = FrameNote(path, maxima, boxes)
    return found


def _values(note: FrameNote) -> list[object]:
    regions = {
        head: [[*map(float, box), float(score)] for box, score in boxes[:MOST]]
        for head, boxes in note.regions.items()
    }
    maxima = {head: float(value) for head, value in note.maxima.items()}
    return [note.path, maxima, regions]
