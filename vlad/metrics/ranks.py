"""How well scores order images with more than two levels, such as the severity of defects.

Two of the measures of MAD-Bench (Cao et al., "Are Anomaly Scores Telling the Whole Story?", 2024,
arXiv 2411.14515), over normal (level 0) and anomalous images together.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from vlad.metrics.checks import same_shape


def concordance(scores: ArrayLike, levels: ArrayLike) -> float:
    """Concordance index: the share of pairs with different levels whose scores have the same order.

    Pairs of equal score count half. With two levels it equals the AUROC. Counting is exact, in O(n
    log n).

    Args:
        scores, levels: (N,); a higher level is worse, 0 is normal.

    Returns:
        A value in [0, 1], 0.5 for random scores; NaN with a UserWarning if all have the same level.

    Raises:
        InputError: shapes differ, a score is NaN, or a level is not a number ≥ 0.
    """
    scores, levels = same_shape(scores, levels, "scores", "levels")
    comparable = _pairs(levels.size) - _tied(levels)
    if not comparable:
        _warn("the concordance index")
        return np.nan
    distinct = _pairs(scores.size) - _tied(scores)
    # tau-b is the concordant minus the discordant pairs, over the root of this product
    excess = round(_tau(scores, levels) * (distinct * comparable) ** 0.5) if distinct else 0
    return (comparable + excess) / (2 * comparable)


def kendall_tau(scores: ArrayLike, levels: ArrayLike) -> float:
    """Kendall's tau-b: concordant minus discordant pairs, corrected for ties.

    Arguments and errors are those of `concordance`.

    Returns:
        A value in [-1, 1]; NaN with a UserWarning if all scores or all levels are equal.
    """
    scores, levels = same_shape(scores, levels, "scores", "levels")
    if not all(_pairs(values.size) > _tied(values) for values in (scores, levels)):
        _warn("Kendall's tau")
        return np.nan
    return _tau(scores, levels)


def _tau(scores: np.ndarray, levels: np.ndarray) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(scores, levels).statistic)


def _tied(values: np.ndarray) -> int:
    """The number of pairs of equal values."""
    return sum(_pairs(int(count)) for count in np.unique(values, return_counts=True)[1])


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _warn(metric: str) -> None:
    what = f"{metric} is undefined (NaN): there is no pair of different values"
    warnings.warn(what, UserWarning, stacklevel=3)
