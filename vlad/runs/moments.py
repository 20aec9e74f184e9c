"""Events in time over the rows of one source, one row after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vlad.results.eventlog import Logged
from vlad.results.eventrules import EventRules
from vlad.results.rows import Row
from vlad.runs.frames import captured
from vlad.time import Event, LiveEvents
from vlad.time.tracks import Box

Region = tuple[Box, float]  # box and highest map value


@dataclass(frozen=True)
class Moment:
    """What one more row makes of events.

    Attributes:
        seconds: position of its frame, from the first of the source.
        columns: column of scores.csv -> value.
        ended: events that ended before its frame.
        began: those that begin with it.
        going: those that its frame belongs to.
    """

    seconds: float
    columns: Mapping[str, object]
    ended: list[Logged]
    began: list[Logged]
    going: list[Logged]


class Moments:
    """Events of each head in the rows of one source.

    The same rows give the same events and numbers, so a run that was killed finds them again.

    Args:
        source: its name in the paths of rows.
        gap: as in `LiveEvents`.

    Attributes:
        going: head -> its event that goes on.
    """

    def __init__(self, source: str, rules: EventRules, gap: float | None):
        self.source = source
        self.going: dict[str, Logged] = {}
        self._heads = {
            head: LiveEvents(begin, rules.end[head], rules.smoothing, gap)
            for head, begin in rules.begin.items()
        }
        self._first: int | None = None  # when the first frame was captured
        self._count = 0

    def add(self, row: Row, regions: Mapping[str, Region]) -> Moment:
        """Take one row; of one with an error only its time counts, and one without a time changes
        nothing.

        Args:
            regions: head -> most anomalous region of the frame.
        """
        at, columns = captured(row), {}
        if at is None:
            return Moment(0.0, {}, [], [], [])
        self._first = at if self._first is None else self._first
        moment = Moment((at - self._first) / 1e9, {}, [], [], [])
        if row.error is not None or not row.scores.keys() >= self._heads.keys():
            return replace(moment, ended=self.away(at))
        for head, live in self._heads.items():
            step = live.add(moment.seconds, row.scores[head])
            columns[f"{head}_smoothed"] = step.smoothed
            if step.ended:
                moment.ended.append(self._ended(head, step.ended))
            if step.going:
                began = head not in self.going
                one = self._grown(head, step.going, row.path, at, regions.get(head))
                columns[f"{head}_event"] = one.number
                moment.going.append(one)
                moment.began.extend([one] if began else [])
        return replace(moment, columns=columns)

    def away(self, now: int) -> list[Logged]:
        """The events that end because no frame came for too long.

        Args:
            now: ns since 1970; every frame captured before was taken.
        """
        if self._first is None:
            return []
        seconds = (now - self._first) / 1e9
        ends = [(head, live.away(seconds)) for head, live in self._heads.items()]
        return [self._ended(head, event) for head, event in ends if event]

    def close(self) -> list[Logged]:
        """The events that end because no frame will come."""
        ends = [(head, live.close()) for head, live in self._heads.items()]
        return [self._ended(head, event) for head, event in ends if event]

    def _ended(self, head: str, event: Event) -> Logged:
        return replace(self.going.pop(head), event=event)

    def _grown(self, head: str, event: Event, path: str, at: int, region: Region | None) -> Logged:
        one = self.going.get(head)
        if one is None:
            self._count += 1
            one = Logged(self._count, self.source, head, event, (path,) * 3, (at,) * 3, region)
        else:
            peak = event.peak == event.last
            frames = (one.frames[0], path, path if peak else one.frames[2])
            times = (one.times[0], at, at if peak else one.times[2])
            if one.region and (region is None or region[1] <= one.region[1]):
                region = one.region
            one = replace(one, event=event, frames=frames, times=times, region=region)
        self.going[head] = one
        return one
