"""Defect regions of masks, and the weight of their pixels in the overlap."""

from __future__ import annotations

import numpy as np

# Pixels connect by side or corner within an image, never across images.
_CONNECTED = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])


def region_weights(anomalous: np.ndarray) -> tuple[np.ndarray, int]:
    """For each anomalous pixel, 1 / (pixels of its region); and the number of regions.

    The sum of weights of the pixels at or above a threshold, divided by the number of regions, is
    the mean overlap.

    Args:
        anomalous: (N, H, W) bool.

    Returns:
        (P,) float64 in C order, and the number of 8-connected regions.
    """
    from scipy import ndimage

    regions, count = ndimage.label(anomalous, _CONNECTED)
    regions = regions[anomalous]
    return 1 / np.bincount(regions)[regions], count
