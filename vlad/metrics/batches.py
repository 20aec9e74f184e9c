"""Exact pixel metrics of batches of maps that can be iterated twice."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from vlad.errors import InputError
from vlad.metrics import curves
from vlad.metrics.checks import check_limit, missing_class, score_arrays
from vlad.metrics.curves import Curve, counts_at
from vlad.metrics.regions import region_weights

METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")
SORTED = 1 << 23  # number of normal pixels sorted together

Batches = Iterable[tuple[ArrayLike, ArrayLike]]


def evaluate_batches(batches: Batches, *, limit: float = 0.3) -> dict[str, float]:
    """The exact pixel metrics of `vlad.metrics.evaluate`, without all maps in memory at once.

    In memory are the scores of the anomalous pixels, one batch, and a few million normal pixels.

    Args:
        batches: (anomaly_maps, masks), each (N, H, W) as in `aupro`, to iterate twice (not a
            generator). H and W may differ between batches.
        limit: limit of `aupro`.

    Returns:
        "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro"; NaN with a UserWarning when no pixel is
        anomalous or none is normal.

    Raises:
        InputError: as `aupro`, or the second pass has other pixels than the first.
    """
    check_limit(limit)
    anomalous, weights, regions, normals = anomalous_pixels(batches)
    if missing := missing_class(anomalous.size, normals):
        warn_undefined(missing, stacklevel=3)
        return dict.fromkeys(METRICS, np.nan)
    return by_second_walk(batches, anomalous, weights / regions, normals, limit)


def anomalous_pixels(batches: Batches) -> tuple[np.ndarray, np.ndarray, int, int]:
    """First pass: anomalous scores, their region weights, numbers of regions and normals."""
    scores, weights, regions, normals = [np.empty(0, np.float32)], [np.empty(0)], 0, 0
    for batch in batches:
        maps, anomalous = score_arrays(*batch, images=True)
        scores.append(maps[anomalous])
        found, count = region_weights(anomalous)
        weights.append(found)
        regions += count
        normals += maps.size - len(found)
    return np.concatenate(scores), np.concatenate(weights), regions, normals


def by_second_walk(
    batches: Batches, anomalous: np.ndarray, weights: np.ndarray, normals: int, limit: float
) -> dict[str, float]:
    """Second pass: the metrics, from counts of normal scores at each anomalous score.

    Args:
        anomalous, weights: (P,) scores, and region weights divided by the number of regions.
        normals: expected number of normal pixels.
    """
    curve = curves.curve(anomalous.copy(), np.empty(0))
    fp = fp_above = np.zeros(curve.thresholds.size, np.int64)
    seen = 0
    for normal in _normal_scores(batches):
        normal.sort()
        at, above = counts_at(curve.thresholds, normal)
        fp, fp_above, seen = fp + at, fp_above + above, seen + normal.size
    check_same("normal", seen, normals)
    curve = curve._replace(fp=fp, fp_above=fp_above, normals=normals)
    return pixel_metrics(curve, anomalous, weights, limit)


def _normal_scores(batches: Batches) -> Iterator[np.ndarray]:
    """Normal scores of several batches at once: each sort costs a search of all anomalous ones."""
    waiting, held = [], 0
    for batch in batches:
        maps, anomalous = score_arrays(*batch, images=True)
        waiting.append(maps[~anomalous])
        held += waiting[-1].size
        if held >= SORTED:
            yield np.concatenate(waiting)
            waiting, held = [], 0
    if waiting:
        yield np.concatenate(waiting)


def pixel_metrics(
    curve: Curve, anomalous: np.ndarray, weights: np.ndarray, limit: float
) -> dict[str, float]:
    """All of METRICS, given the region weights divided by the number of regions."""
    values = (
        curves.auroc(curve),
        curves.average_precision(curve),
        curves.f1_max(curve)[0],
        curves.aupro(curve, curves.overlap(curve, anomalous, weights), limit),
    )
    return dict(zip(METRICS, values, strict=True))


def check_same(what: str, pixels: int, seen: int) -> None:
    """Raise an InputError if a pass has another number of pixels than the one before."""
    if pixels != seen:
        raise InputError(
            f"the batches have {pixels} {what} pixels, but had {seen} before; give the same "
            "batches, in a list or another object that can be iterated twice."
        )


def warn_undefined(missing: str, stacklevel: int) -> None:
    """Warn that a class is missing, at the caller `stacklevel` frames above this one."""
    warnings.warn(
        f"every pixel metric is undefined (NaN): nothing is {missing}",
        UserWarning,
        stacklevel=stacklevel,
    )
