"""Whether two detectors gave the same scores."""

import numpy as np


def same(one, other):
    np.testing.assert_array_equal(one.image_score, other.image_score)
    np.testing.assert_array_equal(one.anomaly_map, other.anomaly_map)
