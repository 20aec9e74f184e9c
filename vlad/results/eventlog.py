"""events.csv of a run that goes on: an event is in it from its first frame on."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from vlad.results.eventtable import COLUMNS, ENDED, utc
from vlad.results.table import csv_bytes
from vlad.system.files import atomic_write, cannot_write
from vlad.system.text import counted, printable
from vlad.time import Event
from vlad.time.tracks import Box

FILE = "events.csv"
_COLUMNS = (*COLUMNS, "peak_frame")


@dataclass(frozen=True)
class Logged:
    """One event of a run that goes on.

    Attributes:
        number: its place among those of the run, from 1, by when they began.
        source: the name of the source in the paths of rows.
        head: whose scores.
        event: when, and how high, so far.
        frames: paths of its first, last and peak frame.
        times: when these were captured, ns since 1970.
        region: box and highest map value of its most anomalous region; None without regions.
    """

    number: int
    source: str
    head: str
    event: Event
    frames: tuple[str, str, str]
    times: tuple[int, int, int]
    region: tuple[Box, float] | None = None

    @property
    def name(self) -> str:
        """What sentences call it."""
        return f"Event {self.number} ({self.head})"

    @property
    def sentence(self) -> str:
        """What happened last."""
        name, (first, last, peak) = self.name, map(utc, self.times)
        if self.event.ended is None:
            return f"{name} began at {first}, score {self.event.score:.6g}."
        length = (self.times[1] - self.times[0]) / 1e9
        return (
            f"{name} ended at {last} after {length:.1f} s and {counted(self.event.frames, 'frame')}"
            f", {ENDED[self.event.ended]}; peak {self.event.score:.6g} at {peak}."
        )


class EventLog:
    """Keeps events.csv up to date; only the lines from the first event that goes on are written
    again.

    Args:
        out: folder of the run.
        events: of the run so far, in the order of their numbers.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, out: Path, events: Collection[Logged]):
        self.file = out / FILE
        header = csv_bytes({name: () for name in _COLUMNS})
        self._settled = len(header)  # bytes that never change
        self._open = {one.number: one for one in events}
        atomic_write(self.file, header + _lines(self._open.values()))
        self._settle()

    def update(self, events: Iterable[Logged]) -> None:
        """Write events that are new or have changed.

        Raises:
            OutputError: the file cannot be written.
        """
        self._open |= {one.number: one for one in events}
        try:
            with open(self.file, "r+b") as file:
                file.seek(self._settled)
                file.write(_lines(self._open.values()))
                file.truncate()
        except OSError as error:
            raise cannot_write(self.file, error) from error
        self._settle()

    def _settle(self) -> None:
        for number, one in list(self._open.items()):
            if one.event.ended is None:
                break
            self._settled += len(_lines([self._open.pop(number)]))


def _lines(events: Iterable[Logged]) -> bytes:
    rows = []
    for one in events:
        event = one.event
        box = one.region[0] if one.region else [None] * 4
        rows.append(
            (
                one.number,
                one.source,
                one.head,
                *(round(value, 3) for value in (event.start, event.end, event.at)),
                event.score,
                event.frames,
                ENDED[event.ended],
                *map(utc, one.times[:2]),
                *box,
                printable(one.frames[2]),
            )
        )
    columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
    return csv_bytes(dict(zip(_COLUMNS, columns, strict=True)), header=False)
