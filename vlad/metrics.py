"""How well scores and anomaly maps separate defects from normal: AUROC, AP, F1-max, AUPRO.

All metrics are exact and rest on one idea: between the distinct scores of the *anomalous* values
only false positives change, so two counts of normal values at each of those scores hold the whole
curve. One sort of the normal values finds them, without an index array beside it, which makes
5 million pixels a matter of a fraction of a second.

Scores may be of any real dtype and any range, higher is more anomalous; only their order counts.
Labels and masks are 0 for normal and anything positive (1, True, 255) for anomalous.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from vlad.errors import InputError

# Pixels touch by side or corner within a picture, never across pictures.
_CONNECTED = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])


class _Curve(NamedTuple):
    """Cumulative counts at the m distinct scores of anomalous values, from high to low.

    Attributes:
        thresholds: (m,) the scores.
        tp: (m,) anomalous values with a score ≥ the threshold.
        fp: (m,) normal values with a score ≥ the threshold.
        fp_above: (m,) normal values with a score > the threshold; `fp` less the ties.
        normals: number of normal values.
    """

    thresholds: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fp_above: np.ndarray
    normals: int


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Probability that an anomalous value scores above a normal one, ties counting half.

    Args:
        scores, labels: arrays of one shape: (N,) for pictures, (N, H, W) for pixels.

    Returns:
        A value in [0, 1]; NaN with a UserWarning when either class is absent.

    Raises:
        InputError: shapes differ, a score is NaN, or a label is no number ≥ 0.
    """
    curve = _curve_or_warning(*_arrays(scores, labels), "AUROC")
    return _auroc(curve) if curve else np.nan


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision, Σ (recallᵢ - recallᵢ₋₁) · precisionᵢ over the distinct scores.

    Arguments and errors are those of `auroc`; the value is NaN with a UserWarning when either
    class is absent, also without normal values, where precision is 1 whatever the scores are.
    """
    curve = _curve_or_warning(*_arrays(scores, labels), "average precision")
    return _average_precision(curve) if curve else np.nan


def f1_max(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """The best F1 over all thresholds, and the highest threshold t that reaches it (score ≥ t).

    The threshold is chosen with the labels in hand, so F1-max is an upper bound of what a
    threshold fixed beforehand would give.

    Arguments and errors are those of `auroc`; both values are NaN with a UserWarning when either
    class is absent.
    """
    curve = _curve_or_warning(*_arrays(scores, labels), "F1-max")
    return _f1_max(curve) if curve else (np.nan, np.nan)


def aupro(anomaly_maps: ArrayLike, masks: ArrayLike, *, limit: float = 0.3) -> float:
    """Area under the per-region-overlap curve up to a false-positive rate, divided by that rate.

    The overlap at a threshold is the share of a defect region that scores at or above it, averaged
    over all regions (8-connected) of all pictures, so that small defects count as much as large
    ones. The false-positive rate is over all normal pixels of all pictures. The curve has a point
    at every distinct score and is cut at `limit` by linear interpolation, as in Bergmann et al.,
    "The MVTec Anomaly Detection Dataset", IJCV 2021, and MVTec's own evaluation code.

    Many repositories share another routine, whose values are not comparable: 200 evenly spaced
    thresholds between the lowest and the highest score, points with a rate below 0.3 kept, and
    their rates stretched to [0, 1] by the lowest and highest among them. It changes under a
    monotone transform of the scores, and with one outlier most of its thresholds fall where there
    are no pixels.

    Args:
        anomaly_maps, masks: (N, H, W); the mask of a normal picture is all zero.
        limit: the largest false-positive rate, in (0, 1].

    Returns:
        A value in [0, 1]; NaN with a UserWarning when no pixel is anomalous or none is normal.

    Raises:
        InputError: shapes differ or are not (N, H, W), a score is NaN, a mask value is no number
            ≥ 0, or the limit lies outside (0, 1].
    """
    _check_limit(limit)
    maps, anomalous = _arrays(anomaly_maps, masks, pictures=True)
    curve = _curve_or_warning(maps, anomalous, "AUPRO")
    return _aupro(curve, maps, anomalous, limit) if curve else np.nan


def evaluate(
    image_scores: ArrayLike,
    image_labels: ArrayLike,
    anomaly_maps: ArrayLike | None = None,
    masks: ArrayLike | None = None,
    *,
    limit: float = 0.3,
) -> dict[str, float]:
    """All metrics of one data set, each level from a single sort.

    A picture labelled anomalous whose mask is empty (a missing mask, or a defect lost when the
    mask was made smaller) is left out of the pixel metrics with a UserWarning, because its pixels
    are not known to be normal.

    Args:
        image_scores, image_labels: (N,).
        anomaly_maps, masks: (N, H, W); with masks None there are no pixel metrics.
        limit: of `aupro`.

    Returns:
        "image_auroc", "image_ap", "image_f1_max" and, given masks, "pixel_auroc", "pixel_ap",
        "pixel_f1_max", "aupro"; NaN with a UserWarning where a level lacks one of its classes.

    Raises:
        InputError: as `auroc` and `aupro`, and when the numbers of pictures differ or a picture
            labelled normal has defect pixels.
    """
    _check_limit(limit)
    scores, labels = _arrays(image_scores, image_labels)
    curve = _curve_or_warning(scores, labels, "every image metric")
    result = {f"image_{name}": value for name, value in _summary(curve).items()}
    if masks is None:
        return result

    maps, anomalous = _arrays(anomaly_maps, masks, pictures=True)
    if labels.shape != maps.shape[:1]:
        raise InputError(
            f"image labels have shape {labels.shape} but there are {len(maps)} anomaly maps; "
            "give one label a picture"
        )
    has_defect = anomalous.any(axis=(1, 2))
    if (has_defect & ~labels).any():
        raise InputError(
            f"pictures at positions {_some(has_defect & ~labels)} are labelled normal but their "
            "masks have defect pixels; correct the label or the mask"
        )
    unknown = labels & ~has_defect
    if unknown.any():
        warnings.warn(
            f"pictures at positions {_some(unknown)} are labelled anomalous but their masks are "
            "empty; they are left out of the pixel metrics",
            UserWarning,
            stacklevel=2,
        )
        maps, anomalous = maps[~unknown], anomalous[~unknown]
    curve = _curve_or_warning(maps, anomalous, "every pixel metric")
    result |= {f"pixel_{name}": value for name, value in _summary(curve).items()}
    result["aupro"] = _aupro(curve, maps, anomalous, limit) if curve else np.nan
    return result


def _summary(curve: _Curve | None) -> dict[str, float]:
    if curve is None:
        return {"auroc": np.nan, "ap": np.nan, "f1_max": np.nan}
    return {
        "auroc": _auroc(curve),
        "ap": _average_precision(curve),
        "f1_max": _f1_max(curve)[0],
    }


def _auroc(curve: _Curve) -> float:
    # In whole numbers: a normal value below counts 2, a tie 1.
    wins = np.diff(curve.tp, prepend=0) * (2 * curve.normals - curve.fp - curve.fp_above)
    return int(wins.sum()) / (2 * int(curve.tp[-1]) * curve.normals)


def _average_precision(curve: _Curve) -> float:
    precision = curve.tp / (curve.tp + curve.fp)
    return float(np.diff(curve.tp, prepend=0) @ precision) / int(curve.tp[-1])


def _f1_max(curve: _Curve) -> tuple[float, float]:
    f1 = 2 * curve.tp / (curve.tp[-1] + curve.tp + curve.fp)
    best = f1.argmax()
    return float(f1[best]), float(curve.thresholds[best])


def _aupro(curve: _Curve, maps: np.ndarray, anomalous: np.ndarray, limit: float) -> float:
    order = maps[anomalous].argsort()[::-1]
    overlap = _region_weights(anomalous)[order].cumsum()[curve.tp - 1]
    # Level up to the normal pixels above each score, then straight across its ties.
    fpr = np.column_stack([curve.fp_above, curve.fp]).ravel() / curve.normals
    fpr = np.concatenate([[0], fpr, [1]])
    overlap = np.concatenate([[0, 0], np.repeat(overlap, 2)])
    inside = np.searchsorted(fpr, limit, side="right")
    overlap = np.append(overlap[:inside], np.interp(limit, fpr, overlap))
    fpr = np.append(fpr[:inside], limit)
    area = np.diff(fpr) @ (overlap[1:] + overlap[:-1]) / 2
    return min(float(area) / limit, 1.0)  # sums of rounded weights may pass 1 by some 1e-16


def _region_weights(anomalous: np.ndarray) -> np.ndarray:
    """Weight 1 / (pixels of its region · number of regions) of each anomalous pixel, in C order."""
    regions, count = ndimage.label(anomalous, _CONNECTED)
    regions = regions[anomalous]
    return 1 / (np.bincount(regions)[regions] * count)


def _curve(scores: np.ndarray, anomalous: np.ndarray) -> _Curve:
    positive, negative = scores[anomalous], scores[~anomalous]
    positive.sort()
    negative.sort()
    first = np.flatnonzero(np.append(True, positive[1:] != positive[:-1]))
    thresholds = positive[first]
    fp = negative.size - np.searchsorted(negative, thresholds, side="left")
    fp_above = negative.size - np.searchsorted(negative, thresholds, side="right")
    tp = positive.size - first
    return _Curve(thresholds[::-1], tp[::-1], fp[::-1], fp_above[::-1], negative.size)


def _curve_or_warning(scores: np.ndarray, anomalous: np.ndarray, metric: str) -> _Curve | None:
    """The curve, or None with a warning (at the caller of vlad.metrics) if a class is absent."""
    missing = "anomalous" if not anomalous.any() else "normal" if anomalous.all() else None
    if missing is None:
        return _curve(scores, anomalous)
    warnings.warn(f"{metric} is undefined (NaN): nothing is {missing}", UserWarning, stacklevel=3)
    return None


def _arrays(
    scores: ArrayLike, labels: ArrayLike, *, pictures: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The scores and a boolean array of the anomalous values, checked."""
    what, truth = ("anomaly maps", "masks") if pictures else ("scores", "labels")
    scores, labels = _array(scores, what), _array(labels, truth)
    if scores.shape != labels.shape:
        raise InputError(
            f"{what} have shape {scores.shape} but {truth} have {labels.shape}; "
            "bring them to the same shape"
        )
    if pictures and scores.ndim != 3:
        raise InputError(f"{what} have shape {scores.shape}; give (pictures, height, width)")
    if unknown := np.count_nonzero(np.isnan(scores)):
        raise InputError(
            f"{unknown} of {scores.size} {what} values are NaN; leave those pictures out"
        )
    if not (labels >= 0).all():
        raise InputError(
            f"{truth} hold negative values or NaN; write 0 for normal, 1 for anomalous"
        )
    return scores, labels > 0


def _array(values: ArrayLike, what: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{what} differ in shape among themselves; give one shape") from error
    if array.dtype.kind not in "buif":
        raise InputError(f"{what} are not all numbers (dtype {array.dtype})")
    return array


def _check_limit(limit: float) -> None:
    if not 0 < limit <= 1:
        raise InputError(f"the limit of the false-positive rate is {limit}; give one in (0, 1]")


def _some(flags: np.ndarray) -> str:
    places = [str(i) for i in np.flatnonzero(flags)]
    return ", ".join(places[:5]) + (f" and {len(places) - 5} more" if len(places) > 5 else "")
