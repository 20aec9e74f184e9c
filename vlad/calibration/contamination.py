"""The share of anomalous pictures among unlabelled ones, as a distribution.

γGMM of Perini, Bürkner and Klami, "Estimating the Contamination Factor's Distribution in
Unsupervised Anomaly Detection", ICML 2023: a mixture of Gaussians over the scores of several heads,
and, over the components in order of how far they score, the probability that the first k of them
are the anomalous ones. Where this departs from the paper, `contamination` says so.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vlad.errors import InputError

# Beliefs before any score is seen, as in the paper: how probably nothing is anomalous, and how
# probably more than LARGE is. Its own LARGE is 0.15.
NOTHING = 0.01
LARGE, MORE = 0.25, 0.01
COMPONENTS = 10  # at most; those that are not needed stay empty
CONCENTRATION = 0.01  # of the Dirichlet process: few components
DRAWS = 10_000


@dataclass(frozen=True)
class Contamination:
    """What is known of the share of anomalous pictures.

    Attributes:
        samples: (S,) draws of the share, each in [0, 1].
    """

    samples: np.ndarray

    @property
    def mean(self) -> float:
        """The expected share."""
        return float(self.samples.mean())

    def quantile(self, q: ArrayLike) -> np.ndarray:
        """The share that is not exceeded with a probability of `q`, in [0, 1]."""
        return np.quantile(self.samples, q)
