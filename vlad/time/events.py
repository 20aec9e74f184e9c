"""Events: stretches of time in which something is anomalous."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlad.time.pieces import pieces

Ended = Literal["score", "gap", "end"]


@dataclass(frozen=True)
class Event:
    """One event; frames are places in the arrays that it was found in.

    Attributes:
        first, last: its first and last frame.
        peak: the frame of the highest score, the first of equal ones.
        start, end, at: their positions, seconds: first, last, peak.
        score: the highest score.
        ended: why: the score fell, a gap in the frames (or their time went backwards), or the
            frames ended; None while it goes on.
    """

    first: int
    last: int
    peak: int
    start: float
    end: float
    at: float
    score: float
    ended: Ended | None

    @property
    def frames(self) -> int:
        """How many frames it lasts."""
        return self.last - self.first + 1


def find_events(
    seconds: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    release: float,
    gap: float,
) -> list[Event]:
    """Events by hysteresis: one begins above `threshold`, and lasts while scores are above
    `release`. A later frame never changes where an event began, so live scores give the same ones.

    Args:
        seconds, scores: (n,), as in `vlad.time`.
        release: at most `threshold`; higher ones count as that.
        gap: as in `vlad.time.pieces`; no event spans one.
    """
    seconds, scores = np.asarray(seconds, float), np.asarray(scores, float)
    found: list[Event] = []
    for part in pieces(seconds, gap):
        for first, stop in runs_above(scores[part], min(release, threshold)):
            first, stop = first + part.start, stop + part.start
            over = np.flatnonzero(scores[first:stop] > threshold)
            if not len(over):
                continue
            first += int(over[0])
            peak = first + int(np.argmax(scores[first:stop]))
            ended: Ended = "score"
            if stop == part.stop:
                ended = "end" if stop == len(scores) else "gap"
            last = stop - 1
            where = (float(seconds[first]), float(seconds[last]), float(seconds[peak]))
            found.append(Event(first, last, peak, *where, float(scores[peak]), ended))
    return found


def runs_above(scores: np.ndarray, level: float) -> list[tuple[int, int]]:
    """(first, last + 1) of each run of scores above a level."""
    above = np.concatenate([[False], np.asarray(scores) > level, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1])
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
