"""A threshold of pixels from the maps of normal images: their mean and three deviations."""

from __future__ import annotations

import math

import numpy as np

DEVIATIONS = 3.0  # above the mean, as the authors of MVTec AD 2 suggest


class PixelSpread:
    """Mean and standard deviation of all map values, map by map, in float64.

    Attributes:
        count: number of pixels so far.
        mean: of their values.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self._squares = 0.0

    def add(self, anomaly_map: np.ndarray) -> None:
        """Add a map (H, W), of one pixel or more."""
        values = np.asarray(anomaly_map, np.float64)
        mean, total = float(values.mean()), self.count + values.size
        apart = mean - self.mean
        # sums of parts are joined about their common mean, so that no digits are lost
        self._squares += float(np.square(values - mean).sum())
        self._squares += apart**2 * self.count * values.size / total
        self.mean += apart * values.size / total
        self.count = total

    @property
    def deviation(self) -> float:
        """Standard deviation over all pixels; NaN without any."""
        return math.sqrt(self._squares / self.count) if self.count else math.nan

    @property
    def threshold(self) -> float:
        """The value above which a pixel is anomalous."""
        return self.mean + DEVIATIONS * self.deviation
