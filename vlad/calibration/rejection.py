"""How stable a decision is: would it be the same had other normal pictures been at hand?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr
from scipy.stats import binom

from vlad.errors import InputError

# entries of one block of scores × references: 32 MiB
BLOCK = 1 << 22


def decision_confidence(
    scores: ArrayLike, reference: ArrayLike, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """How probably each score would be called anomalous under another reference sample.

    A score s is called anomalous by the split-conformal rule, (1 + #{reference ≥ s}) / (n + 1) ≤
    rate, that is where at most k − 1 of the n references reach it, with k = ⌊rate · (n + 1)⌋. In
    another sample of n references the number that reach s is Binomial(n, 1 − p), p being the
    probability that a reference lies below s, so that

        C = P(Binomial(n, 1 − p) ≤ k − 1) = P(Binomial(n, p) ≥ n − k + 1).

    This is the stability of ExCeeD (Perini, Vercruyssen, Davis, ECML 2020), with the number of
    anomalous decisions that the conformal rule makes in place of n·γ. Abstaining where max(C,
    1 − C) is not above 1 − exp(−T) is the rejection of Perini and Davis (NeurIPS 2023, arXiv
    2305.13189), who write it as |2C − 1| ≤ 1 − 2·exp(−T). Their T = 32 asks for all but certainty
    (1 − 10⁻¹⁴); ask for less with few references.

    The papers take p from ranks, (1 + #{reference ≤ s}) / (2 + n). With the 20 to 50 normal
    pictures at hand here no score can then be decided, however far it lies beyond all of them:
    n = 24 and rate = 0.05 give C = 0.39. Here p is a distribution function smoothed by Gaussian
    kernels of width A·(4/n)^(1/3), the normal-reference rule for distribution functions, with
    A = min(standard deviation, IQR / 1.349). It comes to the ranks as n grows. What it adds is an
    assumption: that beyond the references their density falls as fast as a normal one. Where the
    normal scores have heavy tails, C is too sure of scores that lie a little outside. Nor can
    it know whether the references are like the pictures to be judged: it speaks of the luck of the
    draw alone.

    Args:
        scores: (B,), higher is more anomalous.
        reference: (n,) scores of normal pictures that the head was not fitted on, n ≥ 2.
        rate: share of normal pictures that may be called anomalous, 0 < rate < 1. Below
            1 / (n + 1) nothing ever is: C = 0.

    Returns:
        (B,) probabilities C of being called anomalous, which never fall as the score rises, and
        (B,) confidences max(C, 1 − C), in [0.5, 1]. References that are all equal have no width:
        what lies above them is anomalous with certainty, and what equals them or lies below is
        normal.

    Raises:
        InputError: fewer than two references, a value that is no number, or an impossible rate.
    """
    scores, reference = _finite(scores, "scores"), _finite(reference, "reference scores")
    n = len(reference)
    if n < 2:
        raise InputError(f"The stability of decisions needs 2 reference scores, not {n}; add some.")
    if not 0 < rate < 1:
        raise InputError(f"The rate of false alarms is {rate}; give one between 0 and 1.")
    # the product may miss an integer by rounding; the division is what the rule compares
    k = round(rate * (n + 1))
    if k / (n + 1) > rate:
        k -= 1
    probability = binom.cdf(k - 1, n, _share_above(scores, reference))
    return probability, np.maximum(probability, 1 - probability)


def _share_above(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Smoothed probability that a reference reaches each score; a tie counts half."""
    n = len(reference)
    width = _scale(reference) * (4 / n) ** (1 / 3)
    if width == 0:
        return (scores <= reference[0]).astype(float)
    blocks = np.array_split(scores, max(1, -(-scores.size * n // BLOCK)))
    above = [ndtr((reference - s[:, None]) / width).mean(axis=1) for s in blocks]
    return np.concatenate(above)


def _scale(values: np.ndarray) -> float:
    """Standard deviation, or that of a normal distribution with the same quartiles if smaller."""
    if values.min() == values.max():  # the mean of equal values may differ from them by rounding
        return 0.0
    quartiles = np.subtract(*np.quantile(values, [0.75, 0.25])) / 1.349
    deviation = values.std(ddof=1)
    # quartiles that coincide through ties say nothing of the width
    return float(min(deviation, quartiles) if quartiles > 0 else deviation)


def _finite(values: ArrayLike, what: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise InputError(f"The {what} must be a list of finite numbers; leave out failed pictures.")
    return values
