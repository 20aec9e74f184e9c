"""F1 of pixels at a threshold that is fixed in advance."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from vlad.metrics.checks import score_arrays


class SegF1:
    """F1 of the pixels above a threshold, all images together, batch by batch (SegF1).

    MVTec AD 2 (arXiv 2503.21622) ranks binary maps by it. `f1_max` chooses the best threshold with
    the labels; here it comes from elsewhere, such as normal images.

    Args:
        threshold: pixels that score above it are anomalous.
    """

    def __init__(self, threshold: float):
        self.threshold = threshold
        self.hits_ = self.flagged_ = self.anomalous_ = 0

    def update(self, anomaly_maps: ArrayLike, masks: ArrayLike) -> SegF1:
        """Add images.

        Args:
            anomaly_maps, masks: (N, H, W); the mask of a normal image is all zero. H and W may
                differ between batches.

        Raises:
            InputError: as `vlad.metrics.aupro`.
        """
        maps, anomalous = score_arrays(anomaly_maps, masks, images=True)
        flagged = maps > self.threshold
        self.hits_ += int(np.count_nonzero(flagged & anomalous))
        self.flagged_ += int(np.count_nonzero(flagged))
        self.anomalous_ += int(np.count_nonzero(anomalous))
        return self

    def compute(self) -> float:
        """The value in [0, 1]; NaN with a UserWarning if no pixel is anomalous."""
        if not self.anomalous_:
            warnings.warn("SegF1 is undefined (NaN): nothing is anomalous", stacklevel=2)
            return np.nan
        return 2 * self.hits_ / (self.flagged_ + self.anomalous_)


def seg_f1(anomaly_maps: ArrayLike, masks: ArrayLike, threshold: float) -> float:
    """`SegF1` of arrays that fit in memory.

    Args:
        anomaly_maps, masks: (N, H, W).
        threshold: pixels that score above it are anomalous.

    Raises:
        InputError: as `vlad.metrics.aupro`.
    """
    return SegF1(threshold).update(anomaly_maps, masks).compute()
