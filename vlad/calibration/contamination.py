"""The share of anomalous pictures among unlabelled ones, as a distribution.

γGMM of Perini, Bürkner and Klami, "Estimating the Contamination Factor's Distribution in
Unsupervised Anomaly Detection", ICML 2023: a mixture of Gaussians over the scores of several heads,
and, over its components in order of how far they score, the probability that the first k of them
are the anomalous ones. Where this departs from the paper, `contamination` says so.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vlad.errors import InputError

# Beliefs before any score is seen: how probably nothing is anomalous, and how probably more than
# the share LARGE is. The paper's LARGE is 0.15.
NOTHING = 0.01
LARGE, MORE = 0.25, 0.01
COMPONENTS = 10  # at most; those that are not needed stay empty
CONCENTRATION = 0.01  # of the Dirichlet process: few components
DRAWS = 10_000
STEEPEST = 1e3  # more than any difference of two components needs


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


def contamination(scores: ArrayLike, seed: int = 0) -> Contamination:
    """The posterior of the share of anomalous pictures, from their scores by M heads.

    Scores are brought to [0, 1], put on a logarithmic scale and standardised, head by head. A
    mixture of Gaussians with a Dirichlet process prior is fitted to them. Its components are
    ordered by r = mean over heads of μ / (1 + σ), largest first. That component t is anomalous
    where those before it are has the probability σ(a + b·r_t); a and b are such that nothing is
    anomalous with the probability NOTHING and more than LARGE with MORE.

    Departures from the paper: scores are brought to [0, 1] first, so that an affine change of a
    head's scores changes nothing; the posterior is scikit-learn's variational one, whose weights
    and means are drawn from; components of less than one picture are left out; where the first
    component alone is larger than LARGE, it is anomalous with the probability MORE, since no a and
    b would serve. The estimate takes defects for the minority: a list with many more than LARGE of
    them is judged too clean.

    Args:
        scores: (N, M), higher is more anomalous.
        seed: of the fit and of the draws.

    Raises:
        InputError: fewer than two pictures, scores that are no numbers, or that are all the same.
    """
    x = np.asarray(scores, dtype=float)
    if x.ndim != 2 or len(x) < 2 or not np.isfinite(x).all():
        raise InputError(
            "the share of anomalous pictures needs the finite scores of at least 2 pictures; "
            "leave out failed ones."
        )
    x = x[:, np.ptp(x, axis=0) > 0]
    if not x.shape[1]:
        raise InputError(
            "all pictures score the same, so none of them can be told to be anomalous; give "
            "normal pictures."
        )
    x = np.log((x - x.min(axis=0)) / np.ptp(x, axis=0) + 0.01)
    random = np.random.default_rng(seed)
    weights, extremeness = _draw(_fit((x - x.mean(axis=0)) / x.std(axis=0), seed), len(x), random)
    order = np.argsort(-extremeness, axis=1)
    share = np.take_along_axis(weights, order, axis=1).cumsum(axis=1)
    probability = _calibrated(share, np.take_along_axis(extremeness, order, axis=1))
    # as long as draws fall below the probability of the next component, it is anomalous as well
    passed = (random.random(probability.shape) < probability).cumprod(axis=1).sum(axis=1)
    share = np.concatenate([np.zeros((len(share), 1)), share], axis=1)
    return Contamination(np.minimum(share[np.arange(len(share)), passed], 1))


def _fit(x: np.ndarray, seed: int):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import BayesianGaussianMixture

    mixture = BayesianGaussianMixture(
        n_components=min(COMPONENTS, len(x)),
        weight_concentration_prior=CONCENTRATION,
        reg_covar=1e-4,
        max_iter=500,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the bound moves in its last digits
        return mixture.fit(x)


def _draw(mixture, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws of the weights and of the extremeness r of the components in use, (S, K) each."""
    a, b = mixture.weight_concentration_
    sticks = random.beta(a, b, (DRAWS, len(a)))
    left = np.concatenate([np.ones((DRAWS, 1)), (1 - sticks).cumprod(axis=1)[:, :-1]], axis=1)
    deviation = np.sqrt(np.diagonal(mixture.covariances_, axis1=1, axis2=2))
    means = random.normal(
        mixture.means_,
        deviation / np.sqrt(mixture.mean_precision_)[:, None],
        (DRAWS, *deviation.shape),
    )
    used = mixture.weights_ * count >= 1
    weights = (sticks * left)[:, used]
    extremeness = (means / (1 + deviation)).mean(axis=2)[:, used]
    return weights / weights.sum(axis=1, keepdims=True), extremeness


def _calibrated(share: np.ndarray, extremeness: np.ndarray) -> np.ndarray:
    """(S, K): how probably a component is anomalous where those before it are.

    Args:
        share: (S, K) summed weights, most extreme component first.
        extremeness: (S, K) r in that order.
    """
    from scipy.optimize import brentq
    from scipy.special import expit, logit

    large = (share > LARGE).argmax(axis=1)  # the component with which the sum becomes large
    behind = extremeness - extremeness[:, :1]

    def probability(slope: float) -> np.ndarray:
        found = expit(logit(1 - NOTHING) + slope * behind)
        found[large == 0, 0] = MORE
        return found

    def excess(slope: float) -> float:
        passed = probability(slope).cumprod(axis=1)
        return passed[np.arange(len(large)), large].mean() - MORE

    if excess(STEEPEST) > 0:
        return probability(STEEPEST)
    return probability(brentq(excess, 0, STEEPEST) if excess(0) > 0 else 0)
