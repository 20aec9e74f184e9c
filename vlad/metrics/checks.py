"""Checks of the arguments of every metric, and their error messages."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vlad.errors import InputError


def score_arrays(
    scores: ArrayLike, labels: ArrayLike, *, images: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The scores and a boolean array of the anomalous values, checked.

    Raises:
        InputError: shapes differ (or are not (N, H, W) if `images`), a score is NaN, or a label is
            not a number ≥ 0.
    """
    what, truth = ("anomaly maps", "masks") if images else ("scores", "labels")
    scores, labels = same_shape(scores, labels, what, truth)
    if images and scores.ndim != 3:
        raise InputError(f"{what} have shape {scores.shape}; give (images, height, width).")
    return scores, labels > 0


def same_shape(
    scores: ArrayLike, labels: ArrayLike, what: str, truth: str
) -> tuple[np.ndarray, np.ndarray]:
    """The scores and their ground truth, checked.

    Raises:
        InputError: shapes differ, a score is NaN, or a label is not a number ≥ 0.
    """
    scores, labels = number_array(scores, what), number_array(labels, truth)
    if scores.shape != labels.shape:
        raise InputError(
            f"{what} have shape {scores.shape} but {truth} have {labels.shape}; give the same "
            "shape."
        )
    if unknown := np.count_nonzero(np.isnan(scores)):
        raise InputError(
            f"{unknown} of {scores.size} {what} values are NaN; leave these images out."
        )
    if not (labels >= 0).all():
        raise InputError(
            f"{truth} contain negative values or NaN; write 0 for normal, 1 or more for anomalous."
        )
    return scores, labels


def check_limit(limit: float) -> None:
    if not 0 < limit <= 1:
        raise InputError(f"the false-positive rate limit is {limit}; give one in (0, 1].")


def missing_class(anomalous: int, normal: int) -> str | None:
    """The name of the class without values, or None."""
    return "anomalous" if not anomalous else "normal" if not normal else None


def some(flags: np.ndarray) -> str:
    """The first true positions, as text."""
    places = [str(i) for i in np.flatnonzero(flags)]
    return ", ".join(places[:5]) + (f" and {len(places) - 5} more" if len(places) > 5 else "")


def number_array(values: ArrayLike, what: str) -> np.ndarray:
    """The values as an array of real numbers.

    Raises:
        InputError: they differ in shape among themselves, or are not all numbers.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{what} differ in shape among themselves; give one shape.") from error
    if array.dtype.kind not in "buif":
        raise InputError(
            f"{what} are not all numbers (dtype {array.dtype}); give an array of numbers."
        )
    return array
