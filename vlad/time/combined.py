"""One score of each frame from several columns, each by its spread on normal footage."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vlad.calibration.fusion import spread

COMBINED = "combined"  # name of the column
Scales = Mapping[str, tuple[float, float]]


def scale_of(scores: np.ndarray) -> tuple[float, float]:
    """The median of (n,) scores on normal footage, and their robust standard deviation."""
    return float(np.median(scores)), spread(scores)


def scaled(scores: Mapping[str, np.ndarray], scales: Scales) -> dict[str, np.ndarray]:
    """Column -> (n,) spreads above the middle of normal footage, for each column of `scales`."""
    return {
        name: (np.asarray(scores[name], float) - middle) / unit
        for name, (middle, unit) in scales.items()
    }


def combine(scores: Mapping[str, np.ndarray], scales: Scales) -> np.ndarray:
    """(n,) the largest of the scaled columns."""
    return np.max([*scaled(scores, scales).values()], axis=0)
