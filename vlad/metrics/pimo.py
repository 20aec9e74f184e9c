"""AUPIMO: how much of each defect is found at very low false-positive rates on normal images."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from vlad.errors import InputError
from vlad.metrics.checks import score_arrays
from vlad.metrics.curves import counts_at


class Pimo(NamedTuple):
    """AUPIMO of each image and their mean.

    Attributes:
        per_image: (N,) values in [0, 1], NaN for normal images.
        mean: mean over the images with a defect.
    """

    per_image: np.ndarray
    mean: float


def aupimo(
    anomaly_maps: ArrayLike, masks: ArrayLike, *, bounds: tuple[float, float] = (1e-5, 1e-4)
) -> Pimo:
    """Area under each image's curve of overlap over the logarithm of the false-positive rate.

    The overlap of an image is the share of its defect pixels at or above a threshold. The rate is
    shared by all images: the share of all pixels of the *normal* images (those with an empty mask)
    at or above it. The area between the two bounds is divided by log(upper / lower), so a value is
    the mean recall in one image with at most one normal pixel in 10 000 flagged (Bertoldo et al.,
    "AUPIMO", BMVC 2024, arXiv 2401.01984).

    The curve has a point at every distinct score. The authors' code takes 300 000 evenly spaced
    thresholds between the lowest and highest normal score, ends the area at the thresholds nearest
    to the bounds and interpolates linearly in the logarithm; without ties it converges to the same
    value. Across ties, the overlap here is linear in the rate itself, as in AUROC and AUPRO: the
    mean over all ways to break the ties.

    Args:
        anomaly_maps, masks: (N, H, W); the mask of a normal image is all zero. Leave out
            images whose defect is not in the mask.
        bounds: lower and upper false-positive rate, 0 < lower < upper ≤ 1.

    Returns:
        The values; all NaN with a UserWarning when no image has a defect, none is normal, or the
        normal images have fewer than 1 / lower pixels, too few to measure that rate.

    Raises:
        InputError: as `aupro`, or the bounds are invalid.
    """
    lower, upper = bounds
    if not 0 < lower < upper <= 1:
        raise InputError(f"the bounds of AUPIMO are {bounds}; give 0 < lower < upper ≤ 1.")
    maps, anomalous = score_arrays(anomaly_maps, masks, images=True)
    has_defect = np.asarray(anomalous.any(axis=(1, 2)))
    per_image = np.full(len(maps), np.nan)
    normal = maps[~has_defect].ravel()
    if why := _undefined(has_defect, normal.size, lower):
        warnings.warn(f"AUPIMO is undefined (NaN): {why}", UserWarning, stacklevel=2)
        return Pimo(per_image, np.nan)

    highest = _highest(normal, int(upper * normal.size) + 1)
    image = anomalous.nonzero()[0]
    at, above = counts_at(maps[anomalous], highest)
    found = _mean_share(above / normal.size, at / normal.size, lower, upper)
    sums = np.bincount(image, found, minlength=len(maps))[has_defect]
    per_image[has_defect] = np.clip(sums / anomalous[has_defect].sum(axis=(1, 2)), 0, 1)
    return Pimo(per_image, float(per_image[has_defect].mean()))


def _undefined(has_defect: np.ndarray, pixels: int, lower: float) -> str | None:
    if not has_defect.any():
        return "no image has a defect"
    if has_defect.all():
        return "no image is normal"
    if pixels * lower < 1 - 1e-9:  # 1e5 pixels resolve 1e-5 despite rounding
        return (
            f"the normal images have {pixels} pixels, too few to measure a false-positive rate "
            f"of {lower:g}; add normal images or raise the lower bound"
        )
    return None


def _highest(values: np.ndarray, count: int) -> np.ndarray:
    """The `count` highest values and the ties of the last, sorted: all that the bounds need."""
    if count < values.size:
        values = values[values >= np.partition(values, -count)[-count]]
    return np.sort(values)


def _mean_share(above: np.ndarray, at: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """Mean over log rate in [lower, upper] of the chance that each defect pixel is flagged.

    A pixel is not flagged up to the rate `above` its score, flagged from the rate `at` its score,
    and in between with a chance that grows linearly with the rate.
    """
    start, end = np.clip(above, lower, upper), np.clip(at, lower, upper)
    tied = at > above
    ramp = (end - start) - above * np.log(end / start)
    ramp = np.divide(ramp, at - above, out=np.zeros_like(ramp), where=tied)
    return (np.log(upper / end) + ramp) / np.log(upper / lower)
