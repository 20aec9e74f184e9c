"""Calibrations from normal images, labelled images or the images to be judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vlad.calibration.calibration import FUSED, Calibration, Scores, as_matrix
from vlad.calibration.conformal import (
    allowed_above,
    ceiled,
    check_enough,
    check_rate,
    conformal_threshold,
    least_reference,
)
from vlad.calibration.drift.looks import looks_of
from vlad.calibration.fusion import fuse, spread
from vlad.calibration.labels import below, labelled_threshold
from vlad.calibration.severity import learned_edges
from vlad.errors import InputError
from vlad.system.numbers import check_count
from vlad.system.text import shown
from vlad.types import Seen

FALSE_ALARMS = 0.05
LEAST_UNLABELLED = 10  # images; too few to estimate the share of anomalous ones below this


def from_normals(
    scores: Scores,
    map_maxima: Scores | None = None,
    *,
    false_alarms: float = FALSE_ALARMS,
    method: str | None = None,
    names: Sequence[str] = (),
    suspects: int = 0,
    notes: Sequence[str] = (),
    seen: Sequence[Seen | None] = (),
    **options,
) -> Calibration:
    """Calibrate on normal images that no head was fit on; guarantees the false-alarm rate.

    Args:
        scores: head -> (n,) image scores.
        map_maxima: head -> (n,) maxima of their maps.
        false_alarms: false-alarm rate of the verdicts; also the share of normal images that may
            show a region.
        method: fusion method (see `vlad.calibration.fusion`), or None.
        names: names of the images.
        suspects: number of the strangest images to leave out as suspected defects. If they are
            defects, the rate holds; if they are normal, the rate in a note holds.
        seen: how each of the images looks, to notice drift; nothing is kept if one is None.
        options: other fields of Calibration.

    Raises:
        InputError: too few images for the rate, or a value out of range.
    """
    check_count("suspects", suspects, 0)
    reference, maxima = _arrays(scores), _arrays(map_maxima or {})
    if suspects:
        order = _strangest_first(reference)
        check_enough(len(order) - suspects, false_alarms)
        notes = [*notes, _of_suspects(order[:suspects], len(order), false_alarms, names)]
        kept = np.sort(order[suspects:])
        names = [names[i] for i in kept] if names else ()
        seen = [seen[i] for i in kept] if seen else ()
        reference = {head: x[kept] for head, x in reference.items()}
        maxima = {head: x[kept] for head, x in maxima.items()}
    known = _with_fused(reference, method)
    return Calibration(
        "normals",
        reference,
        {name: conformal_threshold(x, false_alarms) for name, x in known.items()},
        dict.fromkeys(known, false_alarms),
        {head: conformal_threshold(x, false_alarms) for head, x in maxima.items()},
        method=method,
        names=names,
        notes=notes,
        drift=looks_of(seen),
        **options,
    )


def from_labels(
    scores: Scores,
    levels: np.ndarray,
    map_maxima: Scores | None = None,
    *,
    target: str = "f1",
    false_alarms: float = FALSE_ALARMS,
    method: str | None = None,
    **options,
) -> Calibration:
    """Calibrate on labelled images; p-values are relative to the normal ones.

    Args:
        scores: head -> (N,) image scores.
        levels: (N,) 0 for normal; 1 for anomalous, or the severity in whole numbers.
        map_maxima: head -> (N,) maxima of their maps.
        target: as in `vlad.calibration.labels.labelled_threshold`.
        false_alarms: share of normal images that may show a region.

    Raises:
        InputError: only one class, a target that is not reachable, or a value out of range.
    """
    check_rate(false_alarms)
    levels = np.asarray(levels)
    normal, everything = levels == 0, _arrays(scores)
    reference = {head: x[normal] for head, x in everything.items()}
    if normal.sum() < 2:
        raise InputError(
            f"{normal.sum()} of {len(levels)} labelled images are normal, but at least 2 are "
            "needed; add some."
        )
    known = _with_fused(reference, method)
    if method:
        parts = np.empty(len(levels))
        parts[normal] = known[FUSED]
        others = {head: x[~normal] for head, x in everything.items()}
        parts[~normal] = fuse(as_matrix(others), as_matrix(reference), method)
        everything[FUSED] = parts
    thresholds = {n: labelled_threshold(x, levels > 0, target) for n, x in everything.items()}
    maxima = {head: x[normal] for head, x in _arrays(map_maxima or {}).items()}
    defects = {head: everything[head][~normal] for head in reference}
    return Calibration(
        "labels",
        reference,
        thresholds,
        {n: _rate(x, thresholds[n]) for n, x in known.items()},
        {head: _highest(x, false_alarms) for head, x in maxima.items()},
        edges={
            n: learned_edges(x, levels, known[n], thresholds[n])
            for n, x in everything.items()
            if levels.max() > 1
        },
        method=method,
        defects=defects,
        **options,
    )


def from_unlabelled(
    scores: Scores,
    map_maxima: Scores | None = None,
    *,
    false_alarms: float = FALSE_ALARMS,
    method: str | None = None,
    seed: int = 0,
    notes: Sequence[str] = (),
    **options,
) -> Calibration:
    """Calibrate on the images to be judged, by estimating their share of anomalous ones.

    The share is the posterior mean of `vlad.calibration.contamination`; it is above the threshold
    of each head. p-values are ranks among the images.

    Args:
        scores: head -> (N,) image scores.
        map_maxima: head -> (N,) maxima of their maps.
        false_alarms: share of the images judged normal that may show a region.
        seed: seed of the estimate.

    Raises:
        InputError: fewer than 10 images, equal scores only, or a value out of range.
    """
    from vlad.calibration.contamination import contamination, two_groups

    check_rate(false_alarms)
    check_count("seed", seed, 0)
    reference = _arrays(scores)
    count = len(next(iter(reference.values())))
    if count < LEAST_UNLABELLED:
        raise InputError(
            f"a threshold from unlabelled images needs at least {LEAST_UNLABELLED}, got {count}; "
            "give more, or normal images."
        )
    found = contamination(as_matrix(reference), seed=seed)
    notes = [*notes, "Assumed: most of these images are good. No false-alarm rate is promised."]
    for head, values in reference.items():
        if groups := two_groups(values):
            notes.append(
                f"Scores of {head} form two large groups, {groups[0]} lower and {groups[1]} "
                "higher. If the higher ones are the defects, trust no verdict here: give normal "
                "images with --normal."
            )
    known = _with_fused(reference, method)
    thresholds = {name: share_threshold(x, found.mean) for name, x in known.items()}
    maxima = _arrays(map_maxima or {})
    normal = {head: reference[head] <= thresholds[head] for head in maxima}
    return Calibration(
        "unlabelled",
        reference,
        thresholds,
        {name: _rate(x, thresholds[name]) for name, x in known.items()},
        {head: _highest(x[normal[head]], false_alarms) for head, x in maxima.items()},
        method=method,
        notes=notes,
        share={
            "mean": found.mean,
            "low": float(found.quantile(0.05)),
            "high": float(found.quantile(0.95)),
        },
        **options,
    )


def share_threshold(scores: np.ndarray, share: float) -> float:
    """A threshold with at most this share of (N,) scores above it, half-way between two scores."""
    ordered = np.sort(scores)[::-1]
    passing = min(int(share * len(ordered) + 0.5), len(ordered) - 1)
    above = ordered[ordered > ordered[passing]]  # equal scores all stay below
    return below(float(above[-1]), scores) if len(above) else float(ordered[0])


def _strangest_first(reference: dict[str, np.ndarray]) -> np.ndarray:
    """(n,) places of images, by how far any head puts them above its median."""
    far = [(x - np.median(x)) / spread(x) for x in reference.values()]
    return np.argsort(-np.max(far, axis=0), kind="stable")


def _of_suspects(places: np.ndarray, count: int, rate: float, names: Sequence[str]) -> str:
    """What leaving out these of `count` images promises."""
    named = f": {', '.join(shown(Path(names[i]).name) for i in places)}" if len(names) else ""
    # each of them may lie above the threshold, besides those that the others have there
    worst = (len(places) + allowed_above(count - len(places), rate) + 1) / (count + 1)
    return (
        f"{len(places)} of {count} held-out images left out as suspected defects{named}. If "
        f"defective, at most {rate:g} of good images are flagged; if good, at most "
        f"{ceiled(worst):g}."
    )


def _highest(maxima: np.ndarray, false_alarms: float) -> float:
    """The conformal threshold, or the maximum if there are too few for the rate."""
    if len(maxima) < least_reference(false_alarms):
        return float(maxima.max())
    return conformal_threshold(maxima, false_alarms)


def _rate(reference: np.ndarray, threshold: float) -> float:
    """The rate whose conformal threshold has as many reference scores above it."""
    return float(((reference > threshold).sum() + 1) / (len(reference) + 1))


def _with_fused(reference: dict[str, np.ndarray], method: str | None) -> dict[str, np.ndarray]:
    if not method:
        return reference
    if len(reference) < 2:
        raise InputError(
            f"fusion needs several heads, but {', '.join(reference)} is the only one; name another."
        )
    known = as_matrix(reference)
    return {**reference, FUSED: fuse(known, known, method, own=True)}


def _arrays(scores: Scores) -> dict[str, np.ndarray]:
    return {name: np.asarray(values, float) for name, values in scores.items()}
