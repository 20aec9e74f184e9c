"""Thresholds from labelled images."""

from __future__ import annotations

import numpy as np

from vlad.errors import InputError
from vlad.metrics.curves import curve, f1_max


def labelled_threshold(scores: np.ndarray, labels: np.ndarray, target: str = "f1") -> float:
    """The threshold above which images are anomalous, half-way between two scores.

    Args:
        scores: (N,).
        labels: (N,) bool, true where anomalous.
        target: "f1" for the best F1; "recall=0.95" for the fewest false alarms at that recall;
            "precision=0.9" for the highest recall at that precision; "miss-cost=10" for the least
            false alarms + 10 · missed defects, with the fewest missed of equal costs.

    Raises:
        InputError: only one class, an unknown target, or a precision that is not reachable.
    """
    for word, count in (("anomalous", labels.sum()), ("normal", (~labels).sum())):
        if not count:
            raise InputError(f"none of the labelled images is {word}; add some of them.")
    found = curve(scores[labels], scores[~labels])
    kind, value = _parsed(target)
    if kind == "f1":
        return below(f1_max(found)[1], scores)
    if kind == "miss-cost":
        # to miss all without an alarm may cost least
        alarms, missed = np.append(0, found.fp), found.tp[-1] - np.append(0, found.tp)
        cost = alarms + value * missed
        best = len(cost) - 1 - int(cost[::-1].argmin())
        return below(found.thresholds[best - 1], scores) if best else float(scores.max())
    precision, recall = found.tp / (found.tp + found.fp), found.tp / found.tp[-1]
    if kind == "recall":
        return below(found.thresholds[np.argmax(recall >= value - 1e-12)], scores)
    fits = np.flatnonzero(precision >= value - 1e-12)
    if not len(fits):
        raise InputError(
            f"no threshold reaches a precision of {value:g}: the best is {precision.max():.3f}; "
            "lower it, or choose another head."
        )
    return below(found.thresholds[fits[-1]], scores)


def check_target(target: str) -> None:
    """Raise an InputError if `labelled_threshold` does not know the target."""
    _parsed(target)


def below(threshold: float, scores: np.ndarray) -> float:
    """Half-way from a threshold among the scores to the next lower one, or just below it."""
    lower = scores[scores < threshold]
    low = float(lower.max()) if len(lower) else float(np.nextafter(threshold, -np.inf))
    middle = low + (float(threshold) - low) / 2
    return middle if low <= middle < threshold else low


def _parsed(target: str) -> tuple[str, float]:
    kind, equals, text = target.partition("=")
    try:
        value = float(text) if equals else 1.0
    except ValueError:
        value = np.nan
    highest = np.finfo(float).max if kind == "miss-cost" else 1
    if (kind, equals) not in (
        ("f1", ""),
        ("recall", "="),
        ("precision", "="),
        ("miss-cost", "="),
    ) or not 0 < value <= highest:
        raise InputError(
            f"unknown target {target!r}; give f1, recall=0.95, precision=0.9 or miss-cost=10."
        )
    return kind, value
