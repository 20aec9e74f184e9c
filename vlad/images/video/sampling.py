"""Which frames of a video are worth scoring."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from vlad.images.video.frame import Frame


class Placed(Protocol):
    """A frame, decoded or not, as far as its number and position."""

    @property
    def number(self) -> int: ...

    @property
    def seconds(self) -> float: ...


P = TypeVar("P", bound=Placed)


@dataclass(frozen=True)
class Sampling:
    """Every N-th frame, and at most `fps` frames a second.

    Args:
        every: N; frames whose number is a multiple of it.
        fps: frames a second of the source's own time; None is no limit.
    """

    every: int = 1
    fps: float | None = None

    def __call__(self, frames: Iterable[P]) -> Iterator[P]:
        """Those of the frames that are due; which they are depends on number and position alone."""
        last = None
        for frame in frames:
            if frame.number % self.every:
                continue
            if self.fps is not None:
                # time stamps are rounded, so a frame may lie just before its place
                slot = math.floor(frame.seconds * self.fps + 1e-3)
                if slot == last:
                    continue
                last = slot
            yield frame


@dataclass(frozen=True)
class Chosen:
    """Frames with these numbers."""

    numbers: frozenset[int]

    def __call__(self, frames: Iterable[P]) -> Iterator[P]:
        """Those of the frames."""
        return (frame for frame in frames if frame.number in self.numbers)


class Changes:
    """Tells frames that differ from the last one that did.

    The measure is the mean difference of brightness over 64×64 cells, in % of the whole range.

    Args:
        percent: more than this is a change; None takes every frame as one.
    """

    def __init__(self, percent: float | None):
        self.percent = percent
        self._last: np.ndarray | None = None

    def __call__(self, frame: Frame) -> bool:
        if self.percent is None:
            return True
        small, last = frame.small(), self._last
        if last is not None and 100 * np.abs(small - last).mean() / 255 <= self.percent:
            return False
        self._last = small
        return True
