"""Scores smoothed over time, whatever the steps between frames."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlad.errors import InputError
from vlad.system.text import shown
from vlad.time.pieces import pieces

Kind = Literal["none", "ewma", "gaussian"]
REACH = 4.0  # widths after which the Gaussian is cut off


@dataclass(frozen=True)
class Smoothing:
    """How scores are smoothed: each becomes a weighted mean of the scores around it.

    Attributes:
        kind: "ewma" takes the frames before, weighted by exp(−age / seconds): usable live.
            "gaussian" takes those before and after, weighted by a Gaussian with this standard
            deviation, cut off at 4 of it. "none" leaves scores as they are.
        seconds: the width.
    """

    kind: Kind = "none"
    seconds: float = 0.0

    @classmethod
    def of(cls, text: str) -> Smoothing:
        """That of "none", "ewma=SECONDS" or "gaussian=SECONDS".

        Raises:
            InputError: it is another text, or no positive number of seconds.
        """
        kind, _, width = text.partition("=")
        if text == "none":
            return cls()
        try:
            seconds = float(width)
        except ValueError:
            seconds = math.nan
        known: Kind | None = next((name for name in _KINDS if name == kind), None)
        if known is None or not 0 < seconds < math.inf:
            raise InputError(
                f"{shown(text)} is not a way to smooth scores; write none, ewma=SECONDS or "
                "gaussian=SECONDS, as in gaussian=1."
            )
        return cls(known, seconds)

    def __str__(self) -> str:
        return self.kind if self.kind == "none" else f"{self.kind}={self.seconds:g}"

    def __call__(self, seconds: np.ndarray, scores: np.ndarray, gap: float) -> np.ndarray:
        """The smoothed scores (n,); nothing is taken across a gap (see `vlad.time`)."""
        seconds, scores = np.asarray(seconds, float), np.asarray(scores, float)
        if self.kind == "none":
            return scores.copy()
        smoothed = np.empty(len(scores))
        for part in pieces(seconds, gap):
            smoothed[part] = _KINDS[self.kind](seconds[part], scores[part], self.seconds)
        return smoothed

    def live(self) -> Callable[[float, float], float]:
        """A function that takes position and score of each frame in turn -> the smoothed score.

        Raises:
            InputError: it needs later frames.
        """
        if self.kind == "gaussian":
            raise InputError(
                f"{self} needs frames that have not come yet; use ewma={self.seconds:g} for "
                "live scores."
            )
        return Ewma(self.seconds) if self.kind == "ewma" else lambda seconds, score: score

    @property
    def sentence(self) -> str:
        """What was done, for outputs."""
        return {
            "none": "Scores are not smoothed.",
            "ewma": f"Scores are means of the frames before (causal EWMA, {self.seconds:g} s).",
            "gaussian": (
                f"Scores are means of the frames before and after (Gaussian, {self.seconds:g} s)."
            ),
        }[self.kind]


class Ewma:
    """A mean of the frames so far, weighted by exp(−age / width)."""

    def __init__(self, width: float):
        self.width = width
        self._total = self._weight = self._last = 0.0

    def __call__(self, seconds: float, score: float) -> float:
        kept = math.exp((self._last - seconds) / self.width) if self._weight else 0.0
        self._total, self._weight = self._total * kept + score, self._weight * kept + 1.0
        self._last = seconds
        return self._total / self._weight


def _ewma(seconds: np.ndarray, scores: np.ndarray, width: float) -> np.ndarray:
    return np.array(list(map(Ewma(width), seconds.tolist(), scores.tolist())))


def _gaussian(seconds: np.ndarray, scores: np.ndarray, width: float) -> np.ndarray:
    total, weight = scores.copy(), np.ones(len(scores))
    # pairs of frames 1, 2, 3 ... apart, until none is within reach
    for apart in range(1, len(scores)):
        steps = (seconds[apart:] - seconds[:-apart]) / width
        near = steps <= REACH
        if not near.any():
            break
        factors = np.where(near, np.exp(-(steps**2) / 2), 0.0)
        total[apart:] += factors * scores[:-apart]
        weight[apart:] += factors
        total[:-apart] += factors * scores[apart:]
        weight[:-apart] += factors
    return total / weight


_KINDS: dict[Kind, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "ewma": _ewma,
    "gaussian": _gaussian,
}
