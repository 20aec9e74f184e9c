"""Region-based and track-based detection of anomalies in video: RBDC and TBDC."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from vlad.errors import InputError

MOST_FALSE = 1.0  # false regions per frame at which the curves end


def rbdc_tbdc(
    detections: Sequence[ArrayLike],
    regions: Sequence[ArrayLike],
    frames: int,
    *,
    alpha: float = 0.1,
    beta: float = 0.1,
) -> tuple[float, float]:
    """Areas under two curves over the false regions per frame, from 0 to 1 of them.

    Criteria of Ramachandra and Jones, "Street Scene", WACV 2020; areas as Georgescu et al., "A
    Background-Agnostic Framework ...", TPAMI 2021, report them. A true region is detected if a
    detection in its frame overlaps it by an intersection over union of at least `beta`; a detection
    that overlaps no true region so far is false. RBDC takes the share of true regions detected,
    TBDC the share of tracks of which at least the share `alpha` is detected.

    The curves have a point at every distinct score, begin at (0, 0), are cut at one false region
    per frame by linear interpolation, and go on level where there are fewer.

    Args:
        detections: (D, 6) of each video: frame, x, y, width and height in pixels, score.
        regions: (R, 6) of each video: frame, x, y, width, height, number of the track.
        frames: number of frames of all videos.

    Returns:
        RBDC and TBDC, from 0 to 1; NaN without a true region.

    Raises:
        InputError: the lists differ in length, an array has another shape or a NaN, a number is out
            of its range, or there are no frames.
    """
    if len(detections) != len(regions) or frames < 1:
        raise InputError(
            f"there are detections of {len(detections)} videos, true regions of {len(regions)} and "
            f"{frames} frames; give both for each video, and all frames."
        )
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not 0 < value <= 1:
            raise InputError(f"`{name}` is {value}; give a share above 0, up to 1.")
    found, false, tracks = [], [], []
    for detected, true in zip(detections, regions, strict=True):
        detected, true = _table(detected, "detections"), _table(true, "true regions")
        best, wrong = _matched(detected, true, beta)
        found.append(best)
        false.append(detected[wrong, 5])
        for number in np.unique(true[:, 5]):
            scores = np.sort(best[true[:, 5] == number])[::-1]
            needed = max(1, math.ceil(alpha * len(scores) - 1e-9))
            tracks.append(scores[needed - 1])
    wrong_scores = np.concatenate(false or [np.zeros(0)])
    areas = [
        _area(np.asarray(scores), wrong_scores, frames)
        for scores in (np.concatenate(found or [np.zeros(0)]), tracks)
    ]
    return areas[0], areas[1]


def _table(given: ArrayLike, what: str) -> np.ndarray:
    table = np.asarray(given, np.float64)
    table = table.reshape(0, 6) if table.size == 0 else table
    if table.ndim != 2 or table.shape[1] != 6 or np.isnan(table).any():
        raise InputError(
            f"{what} have shape {table.shape}, or a NaN; give rows of 6 numbers for each video."
        )
    return table


def _matched(detected: np.ndarray, true: np.ndarray, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """The highest score at which each true region is detected, -inf for never; and which
    detections are false."""
    best = np.full(len(true), -np.inf)
    wrong = np.ones(len(detected), bool)
    of_frame: dict[float, list[int]] = defaultdict(list)
    for place, frame in enumerate(true[:, 0]):
        of_frame[frame].append(place)
    for place, row in enumerate(detected):
        there = np.array(of_frame.get(row[0], []), int)
        near = there[_overlaps(row[1:5], true[there, 1:5]) >= beta]
        best[near] = np.maximum(best[near], row[5])
        wrong[place] = not near.size
    return best, wrong


def _overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box with others."""
    ends = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    sides = np.clip(ends - np.maximum(box[:2], others[:, :2]), 0, None)
    shared = sides.prod(axis=1)
    return shared / (box[2:].prod() + others[:, 2:].prod(axis=1) - shared)


def _area(true: np.ndarray, false: np.ndarray, frames: int) -> float:
    """Area of the share of `true` over the false ones per frame, at falling thresholds."""
    if not true.size:
        return math.nan
    every = np.concatenate([true, false])
    levels = np.unique(every[every > -np.inf])[::-1]
    ordered = np.sort(true), np.sort(false)
    reached = [one.size - np.searchsorted(one, levels, "left") for one in ordered]
    rate = np.concatenate([[0.0], reached[0] / true.size])
    per_frame = np.concatenate([[0.0], reached[1] / frames])
    inside = per_frame <= MOST_FALSE
    # np.interp takes the last of several points with one abscissa, and stays level after the last
    last = np.interp(MOST_FALSE, per_frame, rate)
    rates, places = np.append(rate[inside], last), np.append(per_frame[inside], MOST_FALSE)
    return float(np.diff(places) @ (rates[1:] + rates[:-1]) / 2)
