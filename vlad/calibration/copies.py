"""Copies: images that say nothing new beside those that a head was shown, or beside each other.

The score of an image that the head remembers is a rounding error, and one found from such scores
calls every new image anomalous. So copies do not calibrate: files under another name, images saved
again (also as JPEG), and several frames of one scene that differ by noise alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vlad.calibration.conformal import check_rate, least_reference
from vlad.errors import InputError
from vlad.system.text import shown

SIDE = 32  # of the marks: noise and the errors of JPEG go under in their means
# grey levels, and part of what most pairs differ by, that copies differ by at most: real pairs of
# one series differ by 1.2 and more, JPEG of quality 75 by 0.5 to 1.1
NEAR, PART = 1.0, 0.1
PAIRS = 4_000_000  # compared at once; also those that tell what most pairs differ by


def mark(image: Image.Image) -> np.ndarray:
    """What copies of an image share: (3072,) means of its pixels."""
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small).ravel()


def check_marks(marks: np.ndarray) -> np.ndarray:
    """(N, 3072) marks as they are, or a ValueError for what is none."""
    if marks.dtype != np.uint8 or marks.shape[1:] != (3 * SIDE**2,):
        raise ValueError("its marks of images are none")
    return marks


def find_copies(
    remembered: Sequence[np.ndarray | None], others: Sequence[np.ndarray | None]
) -> np.ndarray:
    """(M,) whether each of M others is a copy of one remembered, or of another before it.

    Args:
        remembered, others: marks; None is never a copy.
    """
    copied = np.zeros(len(others), bool)
    known = [x for x in remembered if x is not None]
    places = [i for i, x in enumerate(others) if x is not None]
    if places:
        # whole numbers, so that float64 makes the distance of equal marks exactly 0
        every = np.stack([*known, *(x for x in others if x is not None)]).astype(float)
        squares = (every**2).sum(axis=1)
        rows, size = np.arange(len(known), len(every)), max(1, PAIRS // len(every))
        some = rows[np.linspace(0, len(rows) - 1, min(size, len(rows))).astype(int)]
        apart, earlier = _apart(every, squares, some)
        most = np.quantile(apart[earlier], 0.75) if earlier.any() else 0.0
        for at in range(0, len(rows), size):
            apart, earlier = _apart(every, squares, rows[at : at + size])
            found = (earlier & (apart <= min(NEAR, PART * most))).any(axis=1)
            copied[places[at : at + size]] = found
    return copied


def _apart(
    every: np.ndarray, squares: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(R, N) grey levels by which R of N marks differ from all, and which of all are earlier."""
    square = squares[rows, None] + squares - 2 * every[rows] @ every.T
    return np.sqrt(square / every.shape[1]), np.arange(len(every)) < rows[:, None]


def keep_others(
    names: Sequence[str], copied: np.ndarray, rate: float | None
) -> tuple[list[int], list[str]]:
    """The places of held-out images that are no copies, and a sentence where any is.

    Args:
        names: of the held-out images.
        copied: from `find_copies`.
        rate: of false alarms, which the others have to hold; None where there is none to hold.

    Raises:
        InputError: the others are too few for it.
    """
    if rate is not None:
        check_rate(rate)
    kept = np.flatnonzero(~copied).tolist()
    if len(kept) == len(names):
        return kept, []
    said = _said(names, copied, "held-out images", "reference images")
    if rate is not None and len(kept) < least_reference(rate):
        raise InputError(
            f"{said}, and the {len(kept)} others cannot hold false alarms to {rate:g}: at least "
            f"{least_reference(rate)} are needed; add other images, or raise the rate."
        )
    return kept, [f"{said} and set no threshold."]


def count_others(names: Sequence[str], copied: np.ndarray) -> tuple[list[int], list[str]]:
    """The places of good images of another day that are no copies, and a sentence where any is.

    Args:
        names: of these images.
        copied: from `find_copies`.

    Raises:
        InputError: there are no others.
    """
    kept = np.flatnonzero(~copied).tolist()
    if len(kept) == len(names):
        return kept, []
    known = "reference images, held-out images"
    said = _said(names, copied, "good images of another day", known)
    if not kept:
        raise InputError(f"{said}: they say nothing new; give others.")
    return kept, [f"{said} and not counted."]


def _said(names: Sequence[str], copied: np.ndarray, kind: str, known: str) -> str:
    """How many images are copies of which, and the names of the first."""
    first = [shown(Path(names[i]).name) for i in np.flatnonzero(copied)[:3]]
    count = int(copied.sum())
    return (
        f"{count} of {len(names)} {kind} {'are copies' if count > 1 else 'is a copy'} of {known} "
        f"or of each other ({', '.join(first)}{', …' * (count > 3)})"
    )
