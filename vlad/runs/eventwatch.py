"""The events in time of a run that goes on: found again at its start, logged, and told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vlad.results.eventlog import EventLog, Logged
from vlad.results.eventrules import EventRules
from vlad.results.eventtable import track_of, write_tracks
from vlad.results.folder import RunFolder
from vlad.results.framenotes import FrameNote, append_notes, read_notes
from vlad.results.regions import find_regions
from vlad.results.rows import Row
from vlad.runs.events import Post, told
from vlad.runs.frames import captured
from vlad.runs.moments import Moments, Region
from vlad.scoring.pipeline import Scored

Columns = dict[str, dict[str, object]]


class EventWatch:
    """Finds events while a run goes on, and keeps events.csv.

    Rows are put on disk before the events that they make, and the same rows give the same events:
    after a kill, those of the last batch are told again, under the same ids.

    Args:
        source: the name of the source in the paths of rows.
        rules: thresholds of every head; the smoothing is causal.
        gap: as in `vlad.time.LiveEvents`.
        regions: head -> map value above which a pixel belongs to a region.
        batch: rows of a batch, at most.
        post: puts what other machines are told on disk.
        on_event: called with each event when it begins and when it has ended.

    Raises:
        OutputError: a file cannot be written.
    """

    def __init__(
        self,
        folder: RunFolder,
        source: str,
        rules: EventRules,
        gap: float | None,
        *,
        regions: Mapping[str, float],
        batch: int,
        post: Post,
        on_event: Callable[[Logged], None],
    ):
        self.folder, self.source, self.rules, self.gap = folder, source, rules, gap
        self.regions, self.batch, self.post, self.on_event = regions, batch, post, on_event
        # a kill between the two files of a row leaves no time: the frame of a file comes again
        for row in [row for row in self._rows() if captured(row) is None]:
            del folder.rows[row.path]
        self._news: list[Logged] = []
        self._changed: Mapping[int, Logged] = {}
        self._moments = Moments(source, rules, gap)
        self._log = EventLog(folder.out, self._replay())
        self.post([told(folder, one) for one in self._news])
        self._news = []

    @property
    def going(self) -> list[Logged]:
        """The events that go on."""
        return list(self._moments.going.values())

    def columns(self) -> Columns:
        """The columns of all rows: smoothed scores and numbers of events."""
        columns, moments = self._empty(), Moments(self.source, self.rules, self.gap)
        for row in self._rows():
            _put(columns, row, moments.add(row, {}).columns)
        return columns

    def take(self, rows: Sequence[Row], scored: Sequence[Scored]) -> tuple[Columns, set[str]]:
        """Take a batch, which is not on disk yet -> its columns, and the paths inside events."""
        columns, inside = self._empty(), set()
        notes = [self._note(one) for one in scored]
        append_notes(self.folder.out, [note for note in notes if note.regions])
        changed: dict[int, Logged] = {}
        for row, note in zip(rows, notes, strict=True):
            moment = self._moments.add(row, _worst(note))
            _put(columns, row, moment.columns)
            self._news += [*moment.ended, *moment.began]
            inside |= {row.path} if moment.going else set()
            changed |= {one.number: one for one in (*moment.ended, *moment.going)}
        self._changed = changed
        return columns, inside

    def settle(self) -> None:
        """Log and tell what the last batch changed; call it once its rows are on disk."""
        self._tell(self._changed)

    def away(self, now: int) -> None:
        """Note that no frame came until `now`, ns since 1970: a long gap ends events."""
        self._news += self._moments.away(now)
        self._tell({one.number: one for one in self._news})

    def close(self) -> None:
        """Note that no frame will come."""
        self._news += self._moments.close()
        self._tell({one.number: one for one in self._news})

    def write_tracks(self) -> None:
        """Write tracks.csv, of all events so far."""
        moments = Moments(self.source, self.rules, self.gap)
        paths, times = [], []  # of frames that have a score
        found: dict[int, Logged] = {}
        for row in self._rows():
            moment = moments.add(row, {})
            if moment.columns:
                paths.append(row.path)
                times.append(moment.seconds)
            found |= {one.number: one for one in (*moment.ended, *moment.going)}
        inside = {
            path for one in found.values() for path in paths[one.event.first : one.event.last + 1]
        }
        notes = read_notes(self.folder.out, inside)
        write_tracks(
            self.folder.out,
            {
                number: (times, track_of(one.event, one.head, paths, notes))
                for number, one in found.items()
            },
        )

    def _tell(self, changed: Mapping[int, Logged]) -> None:
        news, self._news = self._news, []
        self.post([told(self.folder, one) for one in news])
        if changed:
            self._log.update(changed.values())
        for one in news:
            self.on_event(one)

    def _replay(self) -> list[Logged]:
        """Take the rows of earlier commands -> their events; news are those of the last batch."""
        found: dict[int, Logged] = {}
        notes = read_notes(self.folder.out)
        rows = list(self._rows())
        for place, row in enumerate(rows):
            moment = self._moments.add(row, _worst(notes.get(row.path)))
            found |= {one.number: one for one in (*moment.ended, *moment.going)}
            if place >= len(rows) - self.batch:
                self._news += [*moment.ended, *moment.began]
        return list(found.values())

    def _rows(self) -> Iterator[Row]:
        rows = self.folder.rows.values()
        return (row for row in rows if Path(row.path).parent.name == self.source)

    def _note(self, scored: Scored) -> FrameNote:
        maxima: dict[str, float] = {}
        regions = {}
        for head, threshold in self.regions.items():
            anomaly_map = scored.maps.get(head)
            if anomaly_map is not None and np.max(anomaly_map) > threshold:
                found = find_regions(anomaly_map, threshold, scored.size)
                maxima[head] = float(np.max(anomaly_map))
                regions[head] = [(region.box, region.score) for region in found]
        return FrameNote(str(scored.sample.path), maxima, regions)

    def _empty(self) -> Columns:
        heads = self.rules.begin
        return {f"{head}_{what}": {} for head in heads for what in ("smoothed", "event")}


def _put(columns: Columns, row: Row, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        columns[name][row.path] = value


def _worst(note: FrameNote | None) -> dict[str, Region]:
    """Head -> its region with the highest map value, of heads that have one."""
    found = note.regions if note else {}
    return {head: regions[0] for head, regions in found.items() if regions}
