"""Events of a run over video: events.csv, and the track of each one's region in tracks.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from vlad.results.framenotes import FrameNote
from vlad.results.table import Column, csv_bytes
from vlad.system.files import atomic_write
from vlad.time import Event, link
from vlad.time.tracks import Box

TRACKS = "tracks.csv"
Track = Sequence[tuple[int, Box, float]]  # frame, box and highest map value
ENDED = {
    None: "",
    "score": "score fell",
    "gap": "gap in the frames",
    "end": "end of the frames",
}


@dataclass(frozen=True, eq=False)
class Series:
    """The scored frames of one source, in order.

    Attributes:
        source: its name in the paths of rows.
        paths: of its rows, n of them.
        times: (n,) when each frame was captured, ns since 1970.
        seconds: (n,) position of each frame.
        scores: head -> (n,) image scores.
        smoothed: head -> (n,) the same, smoothed.
    """

    source: str
    paths: Sequence[str]
    times: np.ndarray
    seconds: np.ndarray
    scores: Mapping[str, np.ndarray]
    smoothed: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Found:
    """One event of a run.

    Attributes:
        series: the source.
        head: whose scores.
        event: when, and how high.
        track: (frame, box, score) of its region in each frame that shows it: of the track that
            holds the highest map value; empty without regions.
    """

    series: Series
    head: str
    event: Event
    track: Track

    @property
    def best(self) -> tuple[int, Box, float] | None:
        """The part of the track with the highest map value."""
        return max(self.track, key=lambda part: part[2]) if self.track else None

    @property
    def shown(self) -> int:
        """The frame that shows the event best: with the highest region, or the highest score."""
        return self.best[0] if self.best else self.event.peak


def track_of(
    event: Event, head: str, paths: Sequence[str], notes: Mapping[str, FrameNote]
) -> list[tuple[int, Box, float]]:
    """The track of `Found`.

    Args:
        paths: of the frames of the source.
        notes: what is known of each.
    """
    places = range(event.first, event.last + 1)
    none = FrameNote("")
    frames = [notes.get(paths[place], none).regions.get(head, []) for place in places]
    tracks = [
        [(event.first + frame, *frames[frame][box]) for frame, box in track]
        for track in link([[box for box, _ in boxes] for boxes in frames])
    ]
    return max(tracks, key=lambda track: max(score for _, _, score in track), default=[])


def write_events(out: Path, found: Sequence[Found], clips: Mapping[int, str]) -> Path:
    """Write events.csv and tracks.csv.

    Args:
        clips: place of an event -> file of its clip, relative to `out`.

    Returns:
        events.csv.

    Raises:
        OutputError: a file cannot be written.
    """
    table: dict[str, list[object]] = {name: [] for name in _COLUMNS}
    for number, one in enumerate(found, 1):
        event, best = one.event, one.best
        box: Sequence[float | None] = best[1] if best else [None] * 4
        values = (
            number,
            one.series.source,
            one.head,
            *(round(value, 3) for value in (event.start, event.end, event.at)),
            event.score,
            event.frames,
            ENDED[event.ended],
            *(utc(one.series.times[place]) for place in (event.first, event.last)),
            *box,
            len(one.track),
            clips.get(number - 1),
        )
        for column, value in zip(table.values(), values, strict=True):
            column.append(value)
    write_tracks(
        out,
        {n: (one.series.seconds, one.track) for n, one in enumerate(found, 1)},
    )
    return atomic_write(out / "events.csv", csv_bytes(table))


def write_tracks(
    out: Path, tracks: Mapping[int, tuple[Sequence[float] | np.ndarray, Track]]
) -> None:
    """Write tracks.csv.

    Args:
        tracks: number of an event -> the positions of all frames of its source, and its track.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = [
        (number, round(float(seconds[frame]), 3), *box, score)
        for number, (seconds, track) in tracks.items()
        for frame, box, score in track
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(_TRACK)
    table: dict[str, Column] = dict(zip(_TRACK, columns, strict=True))
    atomic_write(out / TRACKS, csv_bytes(table))


COLUMNS = (
    "event", "source", "head", "start", "end", "peak", "score", "frames", "ended", "start_time",
    "end_time", "x", "y", "width", "height",
)  # fmt: skip
_COLUMNS = (*COLUMNS, "track_frames", "clip")
_TRACK = ("event", "seconds", "x", "y", "width", "height", "score")


def utc(ns: int) -> str:
    """A time in ns since 1970 as ISO 8601, UTC."""
    return f"{datetime.fromtimestamp(int(ns) / 1e9, timezone.utc):%FT%T.%fZ}"
