"""AnomalyRuler-base (Yang et al., ECCV 2024, arXiv 2407.10299): scores from captions of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlad.errors import InputError
from vlad.system.text import shown

ALPHA = 0.33  # of the first smoothing
LEAST = 1e-7  # of the second, if no caption has a keyword


@dataclass(frozen=True, eq=False)
class BaseScores:
    """What `anomalyruler_base` finds, each (n,), a value a frame.

    Attributes:
        hits: 1 where the caption has a keyword.
        smoothed: their exponentially weighted mean over the frames before, α = 0.33.
        states: 1 where that is above its mean over the video.
        scores: the exponentially weighted mean of the states, with that mean as α; in [0, 1].
    """

    hits: np.ndarray
    smoothed: np.ndarray
    states: np.ndarray
    scores: np.ndarray


def anomalyruler_base(captions: Sequence[str], keywords: Sequence[str]) -> BaseScores:
    """Scores of the frames of one video from their captions.

    A keyword counts wherever its letters stand in a caption, also inside a longer word. Both
    smoothings look back only, but the mean that states are compared with is of the whole video:
    scores are not causal. A video with a keyword in every caption, or in none, scores 0 throughout.

    Args:
        captions: of n frames in order, at even steps.
        keywords: that speak for an anomaly.

    Raises:
        InputError: no keyword, or an empty one, which is in every caption.
    """
    if not keywords or not all(word.strip() for word in keywords):
        raise InputError(
            f"The keywords are {shown(repr(list(keywords)))}; give at least one, and none empty."
        )
    hits = np.array([any(word in caption for word in keywords) for caption in captions], float)
    smoothed = _weighted(hits, ALPHA)
    level = float(smoothed.mean()) if len(hits) else 0.0
    states = (smoothed > level).astype(float)
    return BaseScores(hits, smoothed, states, _weighted(states, level or LEAST))


def _weighted(values: np.ndarray, alpha: float) -> np.ndarray:
    """(n,) means of the values so far, the one i frames ago weighted by (1 − alpha)^i."""
    total = weight = 0.0
    means = []
    for value in values.tolist():
        total, weight = total * (1 - alpha) + value, weight * (1 - alpha) + 1
        means.append(total / weight)
    return np.array(means)
