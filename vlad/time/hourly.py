"""A threshold by false alarms per hour, from normal footage."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vlad.errors import InputError
from vlad.system.text import counted
from vlad.time.events import runs_above
from vlad.time.pieces import pieces

RELEASE = 0.95  # share of normal frames at or below the score that ends an event
LEVEL = 0.95  # of the intervals
RESAMPLES = 1000
LEAST_BLOCKS = 5  # of footage in a resample


@dataclass(frozen=True)
class Hourly:
    """A threshold on smoothed scores, and what it rests on.

    Attributes:
        threshold: an event begins above it.
        release: an event ends at or below it.
        rate: false alarms per hour asked for: so many are expected, or fewer.
        hours: of normal footage, gaps left out.
        alarms: events in that footage above the threshold.
        peaks: stretches of that footage above `release`.
        interval: the threshold in other footage of this length, 95 %.
        rates: the false alarms per hour that the threshold may really give, 95 %.
        block: seconds that were resampled as a whole.
    """

    threshold: float
    release: float
    rate: float
    hours: float
    alarms: int
    peaks: int
    interval: tuple[float, float]
    rates: tuple[float, float]
    block: float

    @property
    def sentence(self) -> str:
        """What the threshold promises, for outputs."""
        low, high = map(_rough, self.rates)
        return (
            f"At most {self.rate:g} false alarms per hour are expected (95 % interval {low} to "
            f"{high}), from {_rough(self.hours)} h of normal footage with "
            f"{counted(self.alarms, 'event')} above {self.threshold:.6g} (95 % interval "
            f"{self.interval[0]:.6g} to {self.interval[1]:.6g})."
        )


def _rough(rate: float) -> str:
    """Two digits that count, without an exponent."""
    return f"{float(f'{rate:.2g}'):g}"


def from_footage(
    footage: Sequence[tuple[np.ndarray, np.ndarray]],
    rate: float,
    gap: float,
    seed: int = 0,
) -> Hourly:
    """The threshold that normal footage like this exceeds at most `rate` times an hour.

    A stretch of smoothed scores above the release level gives one alarm or none: it does if its
    peak is above the threshold. Of T hours, the threshold is the peak number floor(rate · T),
    counted from the highest. If peaks come independently, as many later ones exceed it in an hour
    as floor(rate · T) / T in the mean over such footage: no more than `rate`. Peaks may come in
    clusters, so the intervals are found by resampling blocks of time (Künsch, Annals of Statistics
    17, 1989; circular as in Politis & Romano 1992), long enough for n^(1/3) of n peaks in the mean
    and for twice the longest stretch. A resample never has a higher peak than the footage, so that
    of the rate is never narrower than for independent peaks, whose rate · T is Gamma-distributed.

    Args:
        footage: (seconds (n,), smoothed scores (n,)) of each source.
        rate: false alarms per hour.
        gap: as in `vlad.time.pieces`; time without frames is not footage.
        seed: of the resampling.

    Raises:
        InputError: the rate is not positive, or there is too little footage for it.
    """
    from scipy.stats import gamma

    if not 0 < rate < math.inf:
        raise InputError(f"{rate:g} false alarms per hour are no rate; give a positive number.")
    stretches = [
        (np.asarray(seconds[part], float), np.asarray(scores[part], float))
        for seconds, scores in footage
        for part in pieces(seconds, gap)
    ]
    steps = np.concatenate([np.diff(seconds) for seconds, _ in stretches] or [np.zeros(0)])
    step = float(np.median(steps)) if len(steps) else 0.0
    # a frame lasts until the next one, the last of a piece for the usual time
    lengths = [seconds[-1] - seconds[0] + step for seconds, _ in stretches]
    total = float(sum(lengths))
    allowed = math.floor(rate * total / 3600 + 1e-9)
    if allowed < 1:
        raise InputError(
            f"{rate:g} false alarms per hour need at least {_time(3600 / rate, math.ceil)} of "
            f"normal footage, got {_time(total, math.floor)}; give more, or raise the rate."
        )
    every = np.concatenate([scores for _, scores in stretches])
    release = float(np.quantile(every, RELEASE, method="inverted_cdf"))
    times, peaks, longest = [], [], 0.0
    began = 0.0
    for (seconds, scores), length in zip(stretches, lengths, strict=True):
        for first, stop in runs_above(scores, release):
            place = first + int(np.argmax(scores[first:stop]))
            times.append(began + seconds[place] - seconds[0])
            peaks.append(float(scores[place]))
            longest = max(longest, seconds[stop - 1] - seconds[first] + step)
        began += length
    order = np.argsort(times, kind="stable")
    at, highs = np.asarray(times, float)[order], np.asarray(peaks, float)[order]
    threshold = _peak_number(highs, allowed, release)
    block = total / max(1, len(highs)) ** (2 / 3)
    block = min(max(block, 2 * longest), total / LEAST_BLOCKS)
    others = _resampled(at, highs, total, block, allowed, release, seed)
    # half of the peaks equal to a threshold count, since it is one of them
    ordered = np.sort(highs)
    above = (
        len(highs)
        - (np.searchsorted(ordered, others, "left") + np.searchsorted(ordered, others, "right")) / 2
    )
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(others, ends).tolist()
    independent = gamma.ppf(ends, allowed)
    slow = min(np.quantile(above, ends[0]), independent[0]) * 3600 / total
    fast = max(np.quantile(above, ends[1]), independent[1]) * 3600 / total
    return Hourly(
        threshold=threshold,
        release=release,
        rate=rate,
        hours=total / 3600,
        alarms=int((highs > threshold).sum()),
        peaks=len(highs),
        interval=(low, high),
        rates=(float(slow), float(fast)),
        block=block,
    )


def _peak_number(peaks: np.ndarray, number: int, release: float) -> float:
    """The peak with this place from the highest; the release level if there are fewer."""
    return float(np.partition(peaks, -number)[-number]) if len(peaks) >= number else release


def _resampled(
    at: np.ndarray,
    peaks: np.ndarray,
    total: float,
    block: float,
    allowed: int,
    release: float,
    seed: int,
) -> np.ndarray:
    """Thresholds (RESAMPLES,) of as much footage, drawn in blocks of time."""
    generator = np.random.default_rng(seed)
    twice, doubled = np.concatenate([at, at + total]), np.concatenate([peaks, peaks])
    count = math.ceil(total / block - 1e-9)
    widths = np.full(count, block)
    widths[-1] = total - block * (count - 1)
    thresholds = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        starts = generator.random(count) * total
        firsts = np.searchsorted(twice, starts, "left")
        stops = np.searchsorted(twice, starts + widths, "left")
        drawn = np.concatenate([doubled[a:b] for a, b in zip(firsts, stops, strict=True)])
        thresholds[number] = _peak_number(drawn, allowed, release)
    return thresholds


def _time(seconds: float, whole: Callable[[float], int]) -> str:
    """A length of time in the unit that people would use, to three digits.

    Args:
        whole: rounds up what is asked for and down what there is, so that they never look alike.
    """
    size, unit = (1, "s") if seconds < 120 else (60, "min") if seconds < 7200 else (3600, "h")
    value = seconds / size
    step = 10.0 ** (math.floor(math.log10(value)) - 2) if value else 1.0
    # what is a whole number but for rounding stays it
    return f"{float(f'{whole(round(value / step, 6)) * step:.3g}'):g} {unit}"
