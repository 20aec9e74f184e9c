"""One score of each frame from several columns, each by its spread on normal footage."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

COMBINED = "combined"  # name of the column
Scales = Mapping[str, tuple[float, float]]


def scale_of(scores: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of (n,) scores on normal footage; the second is never 0.

    Not the median and quartiles: high scores of normal frames shall count, or the column that has
    most of them leads.
    """
    # far above the rounding of scores, or that of a column that never changed would lead
    least = 1e-6 * max(1.0, float(np.abs(scores).max()))
    return float(np.mean(scores)), max(float(np.std(scores)), least)


def scaled(scores: Mapping[str, np.ndarray], scales: Scales) -> dict[str, np.ndarray]:
    """Column -> (n,) deviations above the mean of normal footage, for each column of `scales`."""
    return {
        name: (np.asarray(scores[name], float) - mean) / deviation
        for name, (mean, deviation) in scales.items()
    }


def combine(scores: Mapping[str, np.ndarray], scales: Scales) -> np.ndarray:
    """(n,) the largest of the scaled columns."""
    return np.max([*scaled(scores, scales).values()], axis=0)
