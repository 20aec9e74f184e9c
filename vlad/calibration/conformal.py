"""Split-conformal p-values and thresholds: a stated false-alarm rate from normal images only.

Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005; for anomaly detection
Laxhammar & Falkman 2010 and Bates et al., Annals of Statistics 2023 (arXiv 2104.08279).
"""

from __future__ import annotations

import math

import numpy as np

from vlad.errors import InputError
from vlad.system.numbers import check_share


def p_values(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(1 + number of reference scores at or above) / (n + 1), for each of (B,) scores.

    If the reference images are normal, were not used for fitting, and have the same distribution as
    future normal images, a normal image has p ≤ α with a probability of at most α, for any α.

    Args:
        reference: (n,) scores, in any order.
    """
    ordered = np.sort(reference)
    above = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return (1 + above) / (len(ordered) + 1)


def allowed_above(count: int, rate: float) -> int:
    """How many of `count` reference scores can be at or above a score with p ≤ `rate`.

    -1 if even a score above all of them has a larger p.
    """
    allowed = math.floor(rate * (count + 1) + 1e-9)  # 0.05 · 20 is 1 despite rounding
    return min(allowed, count) - 1  # a rate that rounds to 1 is still below 1


def conformal_threshold(reference: np.ndarray, rate: float) -> float:
    """The score that a normal image exceeds with a probability of at most `rate`.

    A score has p ≤ `rate` if and only if it is greater.

    Args:
        reference: (n,) scores of normal images.
        rate: in (0, 1).

    Raises:
        InputError: the rate is invalid, or n is too small for it.
    """
    check_enough(len(reference), rate)
    return float(np.sort(reference)[::-1][allowed_above(len(reference), rate)])


def check_enough(count: int, rate: float) -> None:
    """Raises an InputError if so many held-out images cannot hold a rate, or if it is none."""
    check_rate(rate)
    if allowed_above(count, rate) < 0:
        lowest = f" to {ceiled(1 / (count + 1)):g} or more" if count else ""
        raise InputError(
            f"a false-alarm rate of {rate:g} needs at least {least_reference(rate)} held-out "
            f"normal images, got {count}; give more, or raise the rate{lowest}."
        )


def ceiled(rate: float) -> float:
    """A rate in two digits that is no lower than it."""
    digits = 1 - math.floor(math.log10(rate))
    return math.ceil(rate * 10**digits - 1e-9) / 10**digits


def least_reference(rate: float) -> int:
    """The least number of reference scores for which a score can have p ≤ `rate`."""
    # avoid infinity: 1 over the smallest rates overflows
    return math.ceil(1 / max(rate, 1e-12) - 1e-9) - 1


def check_rate(rate: float) -> None:
    """Raise an InputError if the rate is outside (0, 1)."""
    check_share("false_alarms", rate)
