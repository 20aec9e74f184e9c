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


def _ewma(seconds: np.ndarray, scores: np.ndarray, width: float) -> np.ndarray:
    kept = np.exp(-np.diff(seconds, prepend=seconds[:1]) / width).tolist()
    total = weight = 0.0
    smoothed = []
    for factor, score in zip(kept, scores.tolist(), strict=True):
        total, weight = total * factor + score, weight * factor + 1.0
        smoothed.append(total / weight)
    return np.array(smoothed)


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
