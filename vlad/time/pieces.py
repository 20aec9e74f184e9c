"""Where a source was away: its frames in pieces without a gap."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

STEPS = 10  # usual steps without a frame are a gap
LEAST = 1.0  # seconds; shorter ones are none


def default_gap(seconds: np.ndarray) -> float:
    """Seconds without a frame that count as a gap: 10 usual (median) steps, at least 1 s."""
    steps = np.diff(seconds)
    return max(LEAST, STEPS * float(np.median(steps))) if len(steps) else LEAST


def pieces(seconds: np.ndarray, gap: float) -> list[slice]:
    """The frames between gaps, and between steps backwards: a slice for each piece.

    Args:
        seconds: (n,) positions of the frames.
        gap: a longer step is a gap; infinity finds none.
    """
    steps = np.diff(np.asarray(seconds, float))
    cuts = [0, *(np.flatnonzero((steps > gap) | (steps < 0)) + 1).tolist(), len(seconds)]
    return [slice(a, b) for a, b in pairwise(cuts) if b > a]
