"""Frame-level metrics of video: AUROC over all frames, and the mean over videos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vlad.errors import InputError
from vlad.metrics.checks import missing_class, score_arrays
from vlad.metrics.exact import auroc, average_precision


@dataclass(frozen=True)
class FrameMetrics:
    """Frame-level metrics of a set of videos.

    Attributes:
        micro: AUROC over the frames of all videos together; NaN if a class is absent.
        macro: mean of the AUROC of each video that has normal and anomalous frames; NaN without
            one.
        ap: average precision over the frames of all videos together; NaN if a class is absent.
        videos: number of videos that `macro` is the mean of.
        one_class: number of videos that it leaves out, since all their frames have one label.
    """

    micro: float
    macro: float
    ap: float
    videos: int
    one_class: int


def frame_metrics(
    scores: Sequence[ArrayLike], labels: Sequence[ArrayLike], *, per_video: bool = False
) -> FrameMetrics:
    """Metrics of videos from a score and a label for each frame.

    Many programs add a normal frame of score 0 and an anomalous one of score 1 to each video
    before they average, so that no video is left out; such macro figures are higher than these.

    Args:
        scores, labels: (n,) of each video, 0 normal and 1 anomalous.
        per_video: scale the scores of each video to 0 to 1 first. This uses the whole video, also
            what comes later, and usually lifts `micro` where the scores of videos differ in level,
            so figures with and without it are not comparable.

    Raises:
        InputError: no videos, one without labels, shapes differ, a score is NaN, or a label is not
            a number ≥ 0.
    """
    if not scores or len(scores) != len(labels):
        raise InputError(
            f"there are scores of {len(scores)} videos and labels of {len(labels)}; give both for "
            "each video."
        )
    videos = [score_arrays(*video) for video in zip(scores, labels, strict=True)]
    if per_video:
        videos = [(_scaled(values), anomalous) for values, anomalous in videos]
    single = [
        auroc(values, anomalous)
        for values, anomalous in videos
        if missing_class(int(anomalous.sum()), int((~anomalous).sum())) is None
    ]
    every = np.concatenate([values for values, _ in videos])
    truth = np.concatenate([anomalous for _, anomalous in videos])
    both = truth.any() and not truth.all()
    return FrameMetrics(
        micro=auroc(every, truth) if both else math.nan,
        macro=float(np.mean(single)) if single else math.nan,
        ap=average_precision(every, truth) if both else math.nan,
        videos=len(single),
        one_class=len(videos) - len(single),
    )


def _scaled(scores: np.ndarray) -> np.ndarray:
    """Scores from 0 to 1; 0 where all are equal."""
    scores = scores.astype(np.float64)
    low, high = (scores.min(), scores.max()) if scores.size else (0.0, 0.0)
    return (scores - low) / (high - low) if high > low else np.zeros_like(scores)
