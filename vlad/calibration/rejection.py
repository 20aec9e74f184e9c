"""The stability of a decision: would other normal images lead to the same one?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vlad.calibration.conformal import allowed_above, check_rate
from vlad.errors import InputError

# scores × references in one block: 32 MiB
BLOCK = 1 << 22
TINY = 1e-6  # keeps Beta distributions proper if a share is 0 or 1


def decision_confidence(
    scores: ArrayLike, reference: ArrayLike, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """The probability that each score would be anomalous with another reference sample.

    A score s is anomalous by the split-conformal rule, (1 + #{reference ≥ s}) / (n + 1) ≤ rate, if
    at most k − 1 of the n references reach it, with k = ⌊rate · (n + 1)⌋. In another sample of n
    references, the number that reach s is Binomial(n, q), where q is the probability that one does,
    so

        C = E_q P(Binomial(n, q) ≤ k − 1).

    This is the stability of ExCeeD (Perini, Vercruyssen, Davis, ECML 2020), with the number of
    anomalous decisions of the conformal rule instead of n·γ. Abstaining unless it is above
    1 − exp(−T) is the rejection of Perini and Davis (NeurIPS 2023, arXiv 2305.13189), who write it
    as |2C − 1| ≤ 1 − 2·exp(−T). Their T = 32 requires near certainty (1 − 10⁻¹⁴); require less with
    few references.

    There are two differences from the papers. They take q from ranks,
    (1 + #{reference > s}) / (2 + n); with 20 to 50 normal images, no score can then be decided,
    however far beyond all of them: n = 24 and rate = 0.05 give C = 0.39. Here the mean of q is that
    of Gaussian kernels on the references, of width A·(4/n)^(1/3), the normal-reference rule for
    distribution functions, with A = min(standard deviation, IQR / 1.349). It converges to the ranks
    as n grows. They also take q as known, although it comes from one random sample, so decisions
    flip more often than stated. Here q has the Beta distribution of the Bayesian bootstrap (Rubin
    1981), Beta(n·q, n·(1 − q)).

    The kernels add the assumption that beyond the references the density falls as fast as a normal
    one. With few references and heavy tails, C is overconfident for scores slightly outside. It
    measures only the randomness of the sample, not whether the references resemble the images to be
    judged.

    Args:
        scores: (B,), higher is more anomalous.
        reference: (n,) scores of normal images that the head was not fit on, n ≥ 2.
        rate: false-alarm rate, 0 < rate < 1. Below 1 / (n + 1) nothing is anomalous: C = 0.

    Returns:
        (B,) probabilities C of being anomalous, which do not fall as the score rises, and (B,)
        confidences that another sample would give the same decision: C for anomalous images, else
        1 − C. Below 0.5, the opposite decision is more likely. If all references are equal, they
        have no width: scores above them are certainly anomalous, all others normal.

    Raises:
        InputError: fewer than two references, a value that is not finite, or an invalid rate.
    """
    scores, reference = _finite(scores, "scores"), _finite(reference, "reference scores")
    n = len(reference)
    if n < 2:
        raise InputError(f"the stability of decisions needs 2 reference scores, got {n}; add some.")
    check_rate(rate)
    allowed = allowed_above(n, rate)
    probability = _at_most(allowed, n, _share_above(scores, reference))
    reached = n - np.searchsorted(np.sort(reference), scores, side="left")
    return probability, np.where(reached <= allowed, probability, 1 - probability)


def _at_most(allowed: int, n: int, share: np.ndarray) -> np.ndarray:
    """Beta-binomial P(X ≤ allowed) of n draws, for (B,) mean shares estimated from n others."""
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
    if values.min() == values.max():  # rounding may move the mean of equal values
        return 0.0
    quartiles = np.subtract(*np.quantile(values, [0.75, 0.25])) / 1.349
    deviation = values.std(ddof=1)
    # ignore quartiles that coincide through ties
    return float(min(deviation, quartiles) if quartiles > 0 else deviation)


def _finite(values: ArrayLike, what: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise InputError(f"the {what} must be a list of finite numbers; leave out failed images.")
    return values
