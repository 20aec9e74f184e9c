"""How stable a decision is: would it be the same had other normal images been at hand?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vlad.calibration.conformal import allowed_above, check_rate
from vlad.errors import InputError

# entries of one block of scores × references: 32 MiB
BLOCK = 1 << 22
TINY = 1e-6  # keeps Beta distributions proper where a share is 0 or 1


def decision_confidence(
    scores: ArrayLike, reference: ArrayLike, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """How probably each score would be called anomalous under another reference sample.

    A score s is called anomalous by the split-conformal rule, (1 + #{reference ≥ s}) / (n + 1) ≤
    rate, that is where at most k − 1 of the n references reach it, with k = ⌊rate · (n + 1)⌋. In
    another sample of n references the number that reach s is Binomial(n, q), q being the
    probability that one does, so that

        C = E_q P(Binomial(n, q) ≤ k − 1).

    This is the stability of ExCeeD (Perini, Vercruyssen, Davis, ECML 2020), with the number of
    anomalous decisions that the conformal rule makes in place of n·γ. Abstaining where it is not
    above 1 − exp(−T) is the rejection of Perini and Davis (NeurIPS 2023, arXiv 2305.13189), who
    write it as |2C − 1| ≤ 1 − 2·exp(−T). Their T = 32 asks for all but certainty (1 − 10⁻¹⁴); ask
    for less with few references.

    Two things differ from the papers. They take q from ranks, (1 + #{reference > s}) / (2 + n);
    with the 20 to 50 normal images at hand here no score can then be decided, however far it lies
    beyond all of them: n = 24 and rate = 0.05 give C = 0.39. Here the mean of q is that of Gaussian
    kernels on the references, of width A·(4/n)^(1/3), the normal-reference rule for distribution
    functions, with A = min(standard deviation, IQR / 1.349). It comes to the ranks as n grows. And
    they take q as known, though the one sample that it comes from is as much a draw as the next, so
    that decisions turn more often than they say. Here q has the Beta distribution of the Bayesian
    bootstrap (Rubin 1981), Beta(n·q, n·(1 − q)).

    What the kernels add is an assumption: that beyond the references their density falls as fast as
    a normal one. With few references and heavy tails C is too sure of scores that lie a little
    outside. Nor can it know whether the references are like the images to be judged: it speaks of
    the luck of the draw alone.

    Args:
        scores: (B,), higher is more anomalous.
        reference: (n,) scores of normal images that the head was not fitted on, n ≥ 2.
        rate: share of normal images that may be called anomalous, 0 < rate < 1. Below
            1 / (n + 1) nothing ever is: C = 0.

    Returns:
        (B,) probabilities C of being called anomalous, which do not fall as the score rises, and
        (B,) confidences that the decision by this reference would be made again: C of what it calls
        anomalous, else 1 − C. Below 0.5 another sample would rather decide the other way.
        References that are all equal have no width: what lies above them is anomalous with
        certainty, and what equals them or lies below is normal.

    Raises:
        InputError: fewer than two references, a value that is no number, or an impossible rate.
    """
    scores, reference = _finite(scores, "scores"), _finite(reference, "reference scores")
    n = len(reference)
    if n < 2:
        raise InputError(f"the stability of decisions needs 2 reference scores, not {n}; add some.")
    check_rate(rate)
    allowed = allowed_above(n, rate)
    probability = _at_most(allowed, n, _share_above(scores, reference))
    reached = n - np.searchsorted(np.sort(reference), scores, side="left")
    return probability, np.where(reached <= allowed, probability, 1 - probability)


def _at_most(allowed: int, n: int, share: np.ndarray) -> np.ndarray:
    """Beta-binomial P(X ≤ allowed) of n draws, for (B,) mean shares known from n others."""
    from scipy.special import betaln

    count = np.arange(allowed + 1)
    ways = -np.log(n + 1) - betaln(n - count + 1, count + 1)
    found = []
    for part in _blocks(share, len(count)):
        a, b = n * part[:, None] + TINY, n * (1 - part[:, None]) + TINY
        log_p = ways + betaln(count + a, n - count + b) - betaln(a, b)
        found.append(np.exp(log_p).sum(axis=1))
    return np.minimum(np.concatenate(found), 1)


def _share_above(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Smoothed probability that a reference reaches each score; a tie counts half."""
    from scipy.special import ndtr

    n = len(reference)
    width = _scale(reference) * (4 / n) ** (1 / 3)
    if width == 0:
        return (scores <= reference[0]).astype(float)
    return np.concatenate(
        [ndtr((reference - s[:, None]) / width).mean(axis=1) for s in _blocks(scores, n)]
    )


def _blocks(values: np.ndarray, width: int) -> list[np.ndarray]:
    return np.array_split(values, max(1, -(-values.size * width // BLOCK)))


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
        raise InputError(f"the {what} must be a list of finite numbers; leave out failed images.")
    return values
