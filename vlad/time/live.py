"""Events found while frames come, as `find_events` finds them afterwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vlad.time.events import Ended, Event
from vlad.time.pieces import LEAST, STEPS
from vlad.time.smoothing import Smoothing

FIRST = 10.0  # seconds; a gap before any step between frames is known
KNOWN = 100  # latest steps that the usual one is found from


@dataclass(frozen=True)
class Step:
    """What one more frame makes of events.

    Attributes:
        smoothed: the smoothed score of the frame.
        ended: the event that ended before this frame, or None.
        going: the event that this frame belongs to, or None; its `ended` is None.
    """

    smoothed: float
    ended: Event | None
    going: Event | None


class LiveEvents:
    """Events by hysteresis in frames that come one by one.

    Args:
        begin: an event begins above it.
        release: an event lasts above it; at most `begin`, higher ones count as that.
        smoothing: of the scores; causal.
        gap: seconds without a frame that end an event; None is 10 usual steps of the last 100
            between frames, at least 1 s, and 10 s before the first step.

    Raises:
        InputError: the smoothing needs later frames.
    """

    def __init__(self, begin: float, release: float, smoothing: Smoothing, gap: float | None):
        self.begin, self.release = begin, min(release, begin)
        self.smoothing, self.given = smoothing, gap
        self._smooth: Callable[[float, float], float] = smoothing.live()
        self._steps: deque[float] = deque(maxlen=KNOWN)
        self._count = 0
        self._last: float | None = None
        self._going: Event | None = None

    @property
    def gap(self) -> float:
        """Seconds without a frame that end an event, as far as it is known by now."""
        if self.given is not None:
            return self.given
        return max(LEAST, STEPS * float(np.median(self._steps))) if self._steps else FIRST

    def add(self, seconds: float, score: float) -> Step:
        """Take one frame.

        Args:
            seconds: its position.
            score: its image score.
        """
        step = 0.0 if self._last is None else seconds - self._last
        ended = None
        if not 0 <= step <= self.gap:
            ended = self._end("gap")
            self._smooth = self.smoothing.live()
        if self._last is not None and step >= 0:
            self._steps.append(step)
        smoothed = self._smooth(seconds, score)
        going, place = self._going, self._count
        if going is None:
            if smoothed > self.begin:
                times = (seconds, seconds, seconds)
                self._going = Event(place, place, place, *times, smoothed, None)
        elif smoothed > self.release:
            self._going = replace(going, last=place, end=seconds)
            if smoothed > going.score:
                self._going = replace(self._going, peak=place, at=seconds, score=smoothed)
        else:
            ended = self._end("score")
        self._last, self._count = seconds, place + 1
        return Step(smoothed, ended, self._going)

    def away(self, seconds: float) -> Event | None:
        """End the event if no frame came for longer than the gap.

        Args:
            seconds: the position of now; every earlier frame was taken.
        """
        late = self._last is not None and seconds - self._last > self.gap
        return self._end("gap") if late else None

    def close(self) -> Event | None:
        """End the event because no frame will come."""
        return self._end("end")

    def _end(self, why: Ended) -> Event | None:
        going, self._going = self._going, None
        return going and replace(going, ended=why)
