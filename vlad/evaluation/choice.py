"""Which of a few heads suits some parts, as far as the images given can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vlad.calibration.conformal import conformal_threshold
from vlad.calibration.fusion import spread
from vlad.calibration.sources import FALSE_ALARMS
from vlad.evaluation.leave_out import LeftOut
from vlad.metrics import Difference, Interval, auroc, bootstrap, delong, resampled
from vlad.metrics.significance import LEVEL, interval

# a short list, fixed before any image is seen: the best of many on few defects is chance. Each was
# best on a development set, and none needs more than one pass for a normal image (docs/log.md)
CANDIDATES = ("memory", "padim", "statistics")
READING, UNREAD = "winclip", "mvg"  # the fourth: with a category and a text encoder, or without
LEAST_DEFECTS = 8


def candidates(words: bool) -> tuple[str, ...]:
    """The heads to compare, the one to prefer first.

    Args:
        words: whether there is a category, and a backbone that reads it.
    """
    return (*CANDIDATES, READING if words else UNREAD)


@dataclass(frozen=True)
class Row:
    """What was measured of one head.

    Attributes:
        seconds: for an image, with a pass of its own.
        strangest: how far the most anomalous normal image scores above their median, in robust
            standard deviations of the others' scores.
        agreement: mean rank correlation with the other heads' scores of all images.
        drawn: AUROC of drawn defects; a proxy.
        flagged: share of the images to score above the threshold.
        found: share of the defects above it; None without any.
        auroc: of the defects, and its interval; None without enough of them.
    """

    head: str
    seconds: float
    strangest: float
    agreement: float
    drawn: float
    flagged: float
    found: float | None = None
    auroc: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True)
class Choice:
    """What was measured, and what follows from it.

    Attributes:
        rows: of each head; with enough defects the highest AUROC first.
        rate: share of normal images that the thresholds flag.
        margin: AUROC of the first head minus that of the second, on the same images; None without
            enough defects.
        span: interval of the margin.
        level: heads that the images do not tell from the first one, itself included.
        pick: the head to use, the first one; None without enough defects.
    """

    rows: Sequence[Row]
    rate: float
    margin: Difference | None = None
    span: Interval | None = None
    level: Sequence[str] = ()
    pick: str | None = None


def choose(measured: Mapping[str, LeftOut]) -> Choice:
    """Compare heads, and pick the one with the highest AUROC if there are enough defects.

    Within the noise the highest is still the best guess (docs/log.md has other rules). Heads are
    told apart from it by DeLong's test.

    Args:
        measured: head -> its scores of the same images, the head to prefer first.
    """
    count = len(next(iter(measured.values())).normal)
    rate = max(FALSE_ALARMS, 1 / (count + 1))
    rows = [_row(name, measured, rate) for name in measured]
    if any(row.auroc is None for row in rows):
        return Choice(rows, rate)
    rows.sort(key=lambda row: -(row.auroc or 0))  # equal ones stay in the order of preference
    scores = {name: np.concatenate([x.normal, x.defects]) for name, x in measured.items()}
    labels = np.arange(len(scores[rows[0].head])) >= count
    best = scores[rows[0].head]
    margins = {row.head: delong(best, scores[row.head], labels) for row in rows[1:]}
    level = [rows[0].head, *(name for name, x in margins.items() if x.p >= 1 - LEVEL)]
    second = rows[1].head
    drawn = resampled(best, labels)["auroc"] - resampled(scores[second], labels)["auroc"]
    return Choice(rows, rate, margins[second], interval(drawn), level, rows[0].head)


def _row(name: str, measured: Mapping[str, LeftOut], rate: float) -> Row:
    own = measured[name]
    threshold = conformal_threshold(own.normal, rate)
    enough = len(own.defects) >= LEAST_DEFECTS
    return Row(
        name,
        own.seconds,
        strangest=float((own.normal.max() - np.median(own.normal)) / spread(own.normal)),
        agreement=_agreement(name, measured),
        drawn=_auroc(own.normal, own.drawn),
        flagged=float((own.parts > threshold).mean()),
        found=float((own.defects > threshold).mean()) if len(own.defects) else None,
        auroc=_auroc(own.normal, own.defects) if enough else None,
        interval=_interval(own) if enough else None,
    )


def _auroc(normal: np.ndarray, anomalous: np.ndarray) -> float:
    return auroc(np.concatenate([normal, anomalous]), _labels(normal, anomalous))


def _labels(normal: np.ndarray, anomalous: np.ndarray) -> np.ndarray:
    return np.arange(len(normal) + len(anomalous)) >= len(normal)


def _interval(own: LeftOut) -> Interval:
    """The bootstrap's, or where all images are told apart the exact one of as many pairs."""
    both = np.concatenate([own.normal, own.defects])
    found = bootstrap(both, _labels(own.normal, own.defects))
    if found.low < 1:
        return found
    pairs = min(len(own.normal), len(own.defects))
    return Interval(((1 - LEVEL) / 2) ** (1 / pairs), 1.0)


def _agreement(name: str, measured: Mapping[str, LeftOut]) -> float:
    from scipy.stats import spearmanr

    def scores(of: LeftOut) -> np.ndarray:
        return np.concatenate([of.normal, of.defects, of.parts])

    own = scores(measured[name])
    others = [scores(x) for other, x in measured.items() if other != name]
    return float(np.mean([spearmanr(own, other).statistic for other in others]))
