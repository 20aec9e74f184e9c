"""How sure a metric of image scores is: DeLong's test, Holm's correction, bootstrap intervals.

All of it answers for the choice of the test images alone: other normal images to fit on, or another
training, are further sources of chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vlad.errors import InputError
from vlad.metrics.checks import missing_class, number_array, score_arrays
from vlad.system.numbers import check_count, check_share

LEVEL = 0.95
DRAWS = 1000
_ROOM = 1 << 18  # resampled images kept at a time


@dataclass(frozen=True)
class Difference:
    """The AUROC of one set of scores minus that of another on the same images.

    Attributes:
        value: the difference, in [-1, 1].
        error: its standard error.
        p: two-sided p-value of no difference; 1 for two equal AUROCs without an error, and 0 if
            the error is 0 and the difference is not, as between scores that separate all images
            and scores that are all equal, however few the images.
    """

    value: float
    error: float
    p: float


@dataclass(frozen=True)
class Interval:
    """Where a metric lies on other images of the same kind, with the given confidence."""

    low: float
    high: float


def delong(a: ArrayLike, b: ArrayLike, labels: ArrayLike) -> Difference:
    """Compare the AUROCs of two sets of scores of the same images.

    DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated receiver
    operating characteristic curves", Biometrics 1988, in O(n log n): a score's share of the other
    class below it comes from one sort, as in Sun & Xu, IEEE Signal Processing Letters 2014. Ties
    count half.

    Args:
        a, b: (N,) scores, or (S, N): S sets of scores of the same images, such as one for each
            random seed, whose mean AUROC is compared; S may differ between a and b.
        labels: (N,) 0 for normal, anything positive for anomalous.

    Raises:
        InputError: shapes differ, a score is NaN, a label is not a number ≥ 0, or fewer than two
            images of either class.
    """
    anomalous, normal = (x - y for x, y in zip(_shares(a, labels), _shares(b, labels), strict=True))
    value = float(anomalous.mean())
    return _tested(value, _variance(anomalous) + _variance(normal))


def mean_difference(differences: Sequence[Difference]) -> Difference:
    """The mean of differences on separate images, such as the categories of a data set.

    Raises:
        InputError: no difference is given.
    """
    if not differences:
        raise InputError("`differences` is empty; give at least one.")
    count = len(differences)
    value = sum(one.value for one in differences) / count
    return _tested(value, sum(one.error**2 for one in differences) / count**2)


def holm(p_values: ArrayLike) -> np.ndarray:
    """p-values of several comparisons, raised so that the chance of any false one stays as said.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 1979: the smallest of M is multiplied by M, the next by M - 1, and so on; none
    falls below a smaller one's, none exceeds 1.

    Args:
        p_values: (M,), in any order.

    Returns:
        (M,) float64, in the same order.

    Raises:
        InputError: they are not (M,) numbers in [0, 1].
    """
    given = number_array(p_values, "p-values")
    if given.ndim != 1 or not ((given >= 0) & (given <= 1)).all():
        raise InputError(
            f"p-values of shape {given.shape} are no list, or not all from 0 to 1; give one list."
        )
    order = given.argsort(kind="stable")
    raised = np.maximum.accumulate(given[order] * np.arange(given.size, 0, -1))
    found = np.empty(given.size)
    found[order] = np.minimum(raised, 1)
    return found


def bootstrap(
    scores: ArrayLike,
    labels: ArrayLike,
    metric: str | Callable[[np.ndarray, np.ndarray], float] = "auroc",
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """The percentile interval of a metric over resampled images, each class resampled by itself.

    A metric that is at its limit on every resample, as the AUROC of scores that separate all
    images, has an interval without width; that is no certainty.

    Args:
        scores: (N,).
        labels: (N,) 0 for normal, anything positive for anomalous.
        metric: "auroc", "ap" or "f1_max", which take milliseconds, or a function of scores and
            labels (bool), both (N,).
        level: confidence, in (0, 1).
        draws: number of resamples.
        seed: random seed of the resamples; the same seed and labels give the same resamples.

    Raises:
        InputError: shapes differ, a score is NaN, a label is not a number ≥ 0, a class is absent,
            the level is outside (0, 1), `draws` is below 1, or the metric's name is unknown.
    """
    if isinstance(metric, str):
        values = resampled(scores, labels, draws=draws, seed=seed)
        if metric not in values:
            raise InputError(
                f"there is no resampled metric {metric!r}; choose from {', '.join(values)}, or "
                "give a function."
            )
        return interval(values[metric], level)
    checked, anomalous = score_arrays(scores, labels)
    images = np.arange(anomalous.size)
    found = []
    for counts in _resamples(anomalous, draws, seed):
        for column in counts.T:
            chosen = images.repeat(column)
            found.append(metric(checked[chosen], anomalous[chosen]))
    return interval(found, level)


def resampled(
    scores: ArrayLike, labels: ArrayLike, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, np.ndarray]:
    """ "auroc", "ap" and "f1_max" on resampled images, (draws,) each, as `bootstrap` uses them.

    The same labels and seed resample the same images, so differences between the values of two
    heads are paired.

    Raises:
        InputError: as `bootstrap`.
    """
    checked, anomalous = score_arrays(scores, labels)
    order = np.argsort(checked)[::-1]
    ordered, defects = checked[order], anomalous[order, None]
    # places of the last image of each distinct score, from high to low
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), ordered.size - 1)
    positives = int(anomalous.sum())
    negatives = anomalous.size - positives
    parts = []
    for counts in _resamples(anomalous, draws, seed):
        drawn = counts[order]
        tp = (drawn * defects).cumsum(axis=0)[ends]
        fp = drawn.cumsum(axis=0)[ends] - tp
        gained = np.diff(tp, axis=0, prepend=0)
        below = 2 * (negatives - fp) + np.diff(fp, axis=0, prepend=0)  # ties count half
        precision = tp / np.maximum(tp + fp, 1)
        parts.append(
            (
                (gained * below).sum(axis=0) / (2 * positives * negatives),
                (gained * precision).sum(axis=0) / positives,
                (2 * tp / (positives + tp + fp)).max(axis=0),
            )
        )
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return dict(zip(("auroc", "ap", "f1_max"), columns, strict=True))


def interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    """The interval that holds the middle share `level` of resampled values.

    Raises:
        InputError: the level is outside (0, 1).
    """
    check_share("level", level)
    low, high = np.quantile(np.asarray(values, float), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _resamples(anomalous: np.ndarray, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is drawn, (N, some draws) at a time; each class keeps its number."""
    check_count("draws", draws, 1)
    groups = [np.flatnonzero(anomalous), np.flatnonzero(~anomalous)]
    _check_classes(groups[0].size, groups[1].size, least=1)
    rng = np.random.default_rng(seed)
    step = max(1, _ROOM // anomalous.size)
    for start in range(0, draws, step):
        columns = min(step, draws - start)
        counts = np.zeros((anomalous.size, columns), np.int64)
        for group in groups:
            drawn = rng.integers(group.size, size=(group.size, columns))
            places = (drawn * columns + np.arange(columns)).ravel()
            found = np.bincount(places, minlength=group.size * columns)
            counts[group] = found.reshape(group.size, columns)
        yield counts


def _shares(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Of each anomalous image the share of normal ones below it, of each normal one the share of
    anomalous ones above it, ties counting half; means over the sets of scores."""
    found = []
    for row in np.atleast_2d(number_array(scores, "scores")):
        checked, anomalous = score_arrays(row, labels)
        positive, negative = checked[anomalous], checked[~anomalous]
        _check_classes(positive.size, negative.size, least=2)
        found.append((_below(positive, negative), 1 - _below(negative, positive)))
    if not found:
        raise InputError("`a` or `b` holds no scores; give at least one set of them.")
    first, second = (np.mean(column, axis=0) for column in zip(*found, strict=True))
    return first, second


def _below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of the others below each value, ties counting half."""
    others = np.sort(others)
    lower = np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")
    return lower / (2 * others.size)


def _variance(values: np.ndarray) -> float:
    """The variance of their mean."""
    return float(values.var(ddof=1)) / values.size


def _tested(value: float, variance: float) -> Difference:
    error = math.sqrt(variance)
    if error == 0:
        return Difference(value, error, 1.0 if value == 0 else 0.0)
    return Difference(value, error, math.erfc(abs(value) / error / math.sqrt(2)))


def _check_classes(anomalous: int, normal: int, least: int) -> None:
    if min(anomalous, normal) >= least:
        return
    absent = missing_class(anomalous, normal)
    shown = f"no image is {absent}" if absent else f"{anomalous} anomalous, {normal} normal images"
    raise InputError(
        f"How sure a metric is needs at least {least} of either class ({shown}); add some."
    )
