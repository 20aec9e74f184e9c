"""Exact AUROC, AP, F1-max and AUPRO of arrays that fit in memory."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from vlad.errors import InputError
from vlad.metrics import curves
from vlad.metrics.checks import check_limit, missing_class, score_arrays, some
from vlad.metrics.curves import Curve
from vlad.metrics.regions import region_weights


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Probability that an anomalous value scores above a normal one; ties count half.

    Args:
        scores, labels: arrays of the same shape: (N,) for images, (N, H, W) for pixels.

    Returns:
        A value in [0, 1]; NaN with a UserWarning when either class is absent.

    Raises:
        InputError: shapes differ, a score is NaN, or a label is not a number ≥ 0.
    """
    curve = _curve_or_warning(*score_arrays(scores, labels), "AUROC")
    return curves.auroc(curve) if curve else np.nan


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision, Σ (recallᵢ - recallᵢ₋₁) · precisionᵢ over the distinct scores.

    Arguments and errors are those of `auroc`; the value is NaN with a UserWarning when either class
    is absent, even without normal values, where precision is always 1.
    """
    curve = _curve_or_warning(*score_arrays(scores, labels), "average precision")
    return curves.average_precision(curve) if curve else np.nan


def f1_max(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """The best F1 over all thresholds, and the highest threshold t that reaches it (score ≥ t).

    The threshold is chosen with the labels, so F1-max is an upper bound for a threshold fixed in
    advance.

    Arguments and errors are those of `auroc`; both values are NaN with a UserWarning when either
    class is absent.
    """
    curve = _curve_or_warning(*score_arrays(scores, labels), "F1-max")
    return curves.f1_max(curve) if curve else (np.nan, np.nan)


def aupro(anomaly_maps: ArrayLike, masks: ArrayLike, *, limit: float = 0.3) -> float:
    """Area under the per-region-overlap curve up to a false-positive rate, divided by that rate.

    The overlap at a threshold is the share of a defect region that scores at or above it, averaged
    over all regions (8-connected) of all images, so small defects count as much as large ones. The
    false-positive rate is over all normal pixels of all images. The curve has a point at every
    distinct score and is cut at `limit` by linear interpolation, as in Bergmann et al., "The MVTec
    Anomaly Detection Dataset", IJCV 2021, and MVTec's own evaluation code.

    Many repositories share another routine, whose values are not comparable: it takes 200 evenly
    spaced thresholds between the lowest and highest score, keeps points with a rate below 0.3, and
    stretches their rates to [0, 1]. A monotone transform of the scores changes it, and with one
    outlier most of its thresholds fall where there are no pixels.

    Args:
        anomaly_maps, masks: (N, H, W); the mask of a normal image is all zero.
        limit: the largest false-positive rate, in (0, 1]; 0.3 is usual, 0.05 is stricter.

    Returns:
        A value in [0, 1]; NaN with a UserWarning when no pixel is anomalous or none is normal.

    Raises:
        InputError: shapes differ or are not (N, H, W), a score is NaN, a mask value is not a number
            ≥ 0, or the limit is outside (0, 1].
    """
    check_limit(limit)
    maps, anomalous = score_arrays(anomaly_maps, masks, images=True)
    curve = _curve_or_warning(maps, anomalous, "AUPRO")
    return curves.aupro(curve, _overlap(curve, maps, anomalous), limit) if curve else np.nan


def evaluate(
    image_scores: ArrayLike,
    image_labels: ArrayLike,
    anomaly_maps: ArrayLike | None = None,
    masks: ArrayLike | None = None,
    *,
    limit: float = 0.3,
) -> dict[str, float]:
    """All metrics of one data set, with one sort for images and one for pixels.

    An image labelled anomalous with an empty mask (a missing mask, or a defect lost when the mask
    was resized) is left out of the pixel metrics with a UserWarning, because its pixels are not
    known to be normal.

    Args:
        image_scores, image_labels: (N,).
        anomaly_maps, masks: (N, H, W); without masks there are no pixel metrics.
        limit: limit of `aupro`.

    Returns:
        "image_auroc", "image_ap", "image_f1_max" and, given masks, "pixel_auroc", "pixel_ap",
        "pixel_f1_max", "aupro"; NaN with a UserWarning if a class is absent.

    Raises:
        InputError: as `auroc` and `aupro`, or the numbers of images differ, or an image labelled
            normal has defect pixels.
    """
    check_limit(limit)
    scores, labels = score_arrays(image_scores, image_labels)
    curve = _curve_or_warning(scores, labels, "every image metric")
    result = {f"image_{name}": value for name, value in _summary(curve).items()}
    if masks is None:
        return result

    if anomaly_maps is None:
        raise InputError("`masks` are given without anomaly maps; give both or neither.")
    maps, anomalous = score_arrays(anomaly_maps, masks, images=True)
    if labels.shape != maps.shape[:1]:
        raise InputError(
            f"image labels have shape {labels.shape} but there are {len(maps)} anomaly maps; give "
            "one label per image."
        )
    has_defect = anomalous.any(axis=(1, 2))
    if (has_defect & ~labels).any():
        raise InputError(
            f"images at positions {some(has_defect & ~labels)} are labelled normal but their "
            "masks have defect pixels; correct the label or the mask."
        )
    unknown = labels & ~has_defect
    if unknown.any():
        warnings.warn(
            f"images at positions {some(unknown)} are labelled anomalous but their masks are "
            "empty; they are left out of the pixel metrics",
            UserWarning,
            stacklevel=2,
        )
        maps, anomalous = maps[~unknown], anomalous[~unknown]
    curve = _curve_or_warning(maps, anomalous, "every pixel metric")
    result |= {f"pixel_{name}": value for name, value in _summary(curve).items()}
    result["aupro"] = np.nan
    if curve is not None:
        result["aupro"] = curves.aupro(curve, _overlap(curve, maps, anomalous), limit)
    return result


def _summary(curve: Curve | None) -> dict[str, float]:
    if curve is None:
        return {"auroc": np.nan, "ap": np.nan, "f1_max": np.nan}
    return {
        "auroc": curves.auroc(curve),
        "ap": curves.average_precision(curve),
        "f1_max": curves.f1_max(curve)[0],
    }


def _overlap(curve: Curve, maps: np.ndarray, anomalous: np.ndarray) -> np.ndarray:
    weights, regions = region_weights(anomalous)
    return curves.overlap(curve, maps[anomalous], weights / regions)


def _curve_or_warning(scores: np.ndarray, anomalous: np.ndarray, metric: str) -> Curve | None:
    """The curve; if a class is absent, None and a warning at the caller of vlad.metrics."""
    positive, negative = scores[anomalous], scores[~anomalous]
    missing = missing_class(positive.size, negative.size)
    if missing is None:
        return curves.curve(positive, negative)
    warnings.warn(f"{metric} is undefined (NaN): nothing is {missing}", UserWarning, stacklevel=3)
    return None
