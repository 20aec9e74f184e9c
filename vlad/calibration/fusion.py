"""Fuse several heads by their p-values, never their raw scores.

Scores of different heads have different scales; p-values share one. The p-values of different heads
are dependent, so the combined value is not a p-value: it is a score, calibrated again like that of
any head.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlad.errors import InputError


def fisher(log_p: np.ndarray) -> np.ndarray:
    """Mean of -ln p over heads, (B, H) -> (B,): Fisher 1932, up to a constant factor."""
    return -log_p.mean(axis=1)


def stouffer(log_p: np.ndarray) -> np.ndarray:
    """Sum of normal quantiles over √H (Stouffer et al. 1949); heads can offset each other."""
    from scipy.special import ndtri_exp

    # ndtri_exp(log p) is the normal quantile of p
    return -ndtri_exp(np.minimum(log_p, -1e-12)).sum(axis=1) / np.sqrt(log_p.shape[1])


def harmonic(log_p: np.ndarray) -> np.ndarray:
    """-ln of the harmonic mean of p (Wilson, PNAS 2019): the smallest p decides."""
    from scipy.special import logsumexp

    return logsumexp(-log_p, axis=1) - np.log(log_p.shape[1])


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "fisher": fisher,
    "stouffer": stouffer,
    "harmonic": harmonic,
}


def fuse(
    scores: np.ndarray, reference: np.ndarray, method: str, *, own: bool = False
) -> np.ndarray:
    """One score per image from those of several heads; higher is more anomalous.

    Args:
        scores: (B, H).
        reference: (n, H) scores of the reference images, n ≥ 3.
        method: a name in METHODS.
        own: `scores` are those of the reference images; compare each with the others.

    Raises:
        InputError: an unknown method.
    """
    if method not in METHODS:
        raise InputError(f"unknown fusion method {method!r}; choose from {', '.join(METHODS)}.")
    columns = [
        own_tail(known, spread(known)) if own else tail(new, known, spread(known))
        for new, known in zip(scores.T, reference.T, strict=True)
    ]
    return METHODS[method](np.log(np.stack(columns, axis=1)))


def tail(scores: np.ndarray, reference: np.ndarray, spread: float) -> np.ndarray:
    """Smooth p-values: the share of the reference above, without ties among extremes.

    The rank is interpolated between reference scores. Beyond the last one, p falls as 1 / (1 +
    distance / spread), a tail so heavy that no head dominates by its scale.

    Args:
        scores: (B,).
        reference: (n,).
        spread: the unit of distance.
    """
    known, times = np.unique(reference, return_counts=True)
    share = times[::-1].cumsum()[::-1] / (len(reference) + 1)  # at or above each
    last, first = share[-1], 1 / (len(reference) + 1)
    p = np.interp(scores, known, share)
    beyond, below = (scores - known[-1]) / spread, (known[0] - scores) / spread
    p = np.where(beyond > 0, last / (1 + np.maximum(beyond, 0)), p)
    return np.where(below > 0, 1 - first / (1 + np.maximum(below, 0)), p)


def own_tail(reference: np.ndarray, spread: float) -> np.ndarray:
    """`tail` of each of (n,) reference scores among the n - 1 others."""
    order = reference.argsort()
    r, n = reference[order], len(reference)
    before, after = np.roll(r, 1), np.roll(r, -1)
    before[0], after[-1] = -np.inf, np.inf
    others = (n - np.searchsorted(r, r) - 1) / n  # share of the others at or above
    share_before, share_after = np.roll(others, 1), np.roll(others, -1)
    share_after = np.where(after > r, share_after + 1 / n, share_after)
    with np.errstate(invalid="ignore"):
        weight = (r - before) / (after - before)
        p = share_before + weight * (share_after - share_before)
    p[0] = 1 - 1 / n / (1 + (after[0] - r[0]) / spread)
    p[-1] = share_before[-1] / (1 + (r[-1] - before[-1]) / spread)
    p = np.where((before == r) | (after == r), others, p)
    found = np.empty(n)
    found[order] = p
    return found


def spread(reference: np.ndarray) -> float:
    """Robust standard deviation; never 0."""
    low, high = np.quantile(reference, [0.25, 0.75])
    floor = 1e-9 * max(1.0, float(np.abs(reference).max()))
    return max((high - low) / 1.349 or float(reference.std()), floor)
