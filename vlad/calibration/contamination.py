"""The share of anomalous images among unlabelled ones, as a distribution.

After γGMM: Perini, Bürkner & Klami, "Estimating the Contamination Factor's Distribution in
Unsupervised Anomaly Detection", ICML 2023.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vlad.errors import InputError

COMPONENTS = 10  # at most; unneeded ones stay empty
CONCENTRATION = 0.01  # of the Dirichlet process; small to favour few components
DRAWS = 4000
STRAIGHT = 3.0  # spreads above the bulk up to which scores are not compressed
# remoteness at which a component is anomalous with probability 0.5, and the sigmoid's scale
EVEN, SOFT = 1.3, 0.2
LARGE, VALLEY = 0.25, 0.5  # of `two_groups`


@dataclass(frozen=True)
class Contamination:
    """The posterior of the share of anomalous images.

    Attributes:
        samples: (S,) draws of the share from its posterior, each in [0, 1].
    """

    samples: np.ndarray

    @property
    def mean(self) -> float:
        """The expected share."""
        return float(self.samples.mean())

    def quantile(self, q: ArrayLike) -> np.ndarray:
        """The share not exceeded with probability q, for each q in [0, 1]."""
        return np.quantile(self.samples, np.asarray(q))


def contamination(scores: ArrayLike, *, seed: int = 0) -> Contamination:
    """The share of anomalous images, from the scores of M heads only.

    As in γGMM, a Dirichlet-process mixture of Gaussians is fitted to the scores of all heads, its
    components are sorted by remoteness r, the mean over heads of μ / (1 + σ), and the k most remote
    ones are the anomalous ones with probability p₁ ⋯ pₖ · (1 − pₖ₊₁), where p is a sigmoid of r. A
    draw of the share is a draw of k and of the weight of those k. μ, σ and the weights are drawn
    from the posterior of the mixture, so few images give a wide distribution.

    Differences from the paper:

    - It fixes the sigmoid by two priors, P(nothing anomalous) = 0.01 and P(share > 0.15) = 0.01, on
      the fitted components for any scores, so a fifth can never be anomalous, and the most remote
      component always is. Here the sigmoid is fixed in units of the bulk of the images: a component
      as wide as the bulk is anomalous with probability 0.5 at 2.6 standard deviations from it.
      docs/thresholds.md has results.
    - Scores are therefore measured from the middle of their shortest half, in units of its spread,
      which anomalous images hardly change; logarithms begin `STRAIGHT` spreads above. The paper
      takes logarithms of all scores, and their mean and standard deviation.
    - There are at most 10 components, not 100, and the mass of empty ones is dropped, not
      distributed over the rest, where it would outweigh anything but thousands of images.
    - μ and σ come from the normal-inverse-Wishart posterior itself.

    The bulk is assumed normal, so more than half of the images must be. Anomalies that no head
    detects are not counted, and unusual normal images are.

    Args:
        scores: (N, M) raw image scores, higher is more anomalous; any scale. A head with the same
            score for all images is left out.
        seed: seed of the fit and the draws.

    Raises:
        InputError: fewer than two images, a value that is not finite, or the same score for all
            images from every head.
    """
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or len(scores) < 2 or not np.isfinite(scores).all():
        raise InputError(
            f"cannot estimate the share of anomalous images from scores of shape {scores.shape}; "
            "give finite ones with a row for each of 2 or more images and a column for each head."
        )
    differ = np.ptp(scores, axis=0) > 0
    if not differ.any():
        raise InputError(
            f"cannot estimate the share of anomalous images: all {len(scores)} have the same "
            "score; choose another head, or give normal images."
        )
    scores = scores[:, differ]
    standard = _standard(scores)
    standard = standard[np.lexsort(standard.T)]  # make it independent of the order of images
    random = np.random.default_rng(seed)
    counts, remote = _components(standard, seed, random)
    order = np.argsort(-remote.mean(axis=0))
    weights = random.dirichlet(counts[order], size=DRAWS).cumsum(axis=1)
    return Contamination(_shares(remote[:, order], weights, random))


def two_groups(scores: np.ndarray) -> tuple[int, int] | None:
    """How many of (N,) scores lie in a lower and in a higher group, where both are large.

    Between the groups a density of Gaussian kernels (Silverman's width) falls to `VALLEY` of its
    lower peak; each has at least the share `LARGE` of the scores.
    """
    ordered = np.sort(scores)
    spread = min(ordered.std(), np.subtract(*np.quantile(ordered, [0.75, 0.25])) / 1.349)
    width = 0.9 * (spread or ordered.std()) * len(ordered) ** -0.2
    if not width:
        return None
    places = np.linspace(ordered[0], ordered[-1], 256)
    density = np.exp(-0.5 * ((places[:, None] - ordered) / width) ** 2).sum(axis=1)
    peaks = np.minimum(np.maximum.accumulate(density), np.maximum.accumulate(density[::-1])[::-1])
    below = np.searchsorted(ordered, places)
    large = np.minimum(below, len(ordered) - below) >= LARGE * len(ordered)
    depth = np.where(large, density / peaks, 1.0)
    lower = int(below[depth.argmin()])
    return (lower, len(ordered) - lower) if depth.min() <= VALLEY else None


def _standard(scores: np.ndarray) -> np.ndarray:
    """(N, M) in spreads from the middle of the shortest half, compressed above `STRAIGHT`."""
    ordered, half = np.sort(scores, axis=0), len(scores) // 2
    width = ordered[half:] - ordered[: len(scores) - half]
    start = width.argmin(axis=0)[None]
    low = np.take_along_axis(ordered, start, axis=0)[0]
    high = np.take_along_axis(ordered, start + half, axis=0)[0]
    # the shortest half of a normal distribution is 1.349 standard deviations wide
    spread = (high - low) / 1.349
    spread = np.where(spread > 1e-9 * np.ptp(scores, axis=0), spread, scores.std(axis=0))
    z = (scores - (low + high) / 2) / spread
    return np.where(z > STRAIGHT, STRAIGHT * (1 + np.log(np.maximum(z, STRAIGHT) / STRAIGHT)), z)


def _components(
    x: np.ndarray, seed: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(K,) Dirichlet parameters of the weights and (S, K) draws of the remoteness."""
    from scipy.stats import invwishart
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import BayesianGaussianMixture

    heads = x.shape[1]
    mixture = BayesianGaussianMixture(
        n_components=min(COMPONENTS, len(np.unique(x, axis=0))),
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=CONCENTRATION,
        mean_prior=np.zeros(heads),
        mean_precision_prior=0.1,
        covariance_prior=np.eye(heads),  # the bulk's
        max_iter=1000,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near convergence is enough
        mixture.fit(x)
    counts = mixture.predict_proba(x).sum(axis=0)
    kept = np.flatnonzero(counts >= 1)
    remote = np.empty((DRAWS, len(kept)))
    for place, k in enumerate(kept):
        freedom = mixture.degrees_of_freedom_[k]
        drawn = invwishart.rvs(
            freedom, freedom * mixture.covariances_[k], size=DRAWS, random_state=random
        ).reshape(DRAWS, heads, heads)
        noise = np.einsum(
            "sij,sj->si", np.linalg.cholesky(drawn), random.normal(size=(DRAWS, heads))
        )
        mean = mixture.means_[k] + noise / np.sqrt(mixture.mean_precision_[k])
        deviation = np.sqrt(np.diagonal(drawn, axis1=1, axis2=2))
        remote[:, place] = (mean / (1 + deviation)).mean(axis=1)
    return counts[kept] + CONCENTRATION, remote


def _shares(remote: np.ndarray, weights: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(S,) draws of the share.

    Args:
        remote: (S, K) remoteness of components, most remote first.
        weights: (S, K) weight of the first, of the first two, ...
    """
    from scipy.special import expit

    draws = len(remote)
    anomalous = expit((remote - EVEN) / SOFT)
    # components are anomalous up to the first normal one
    first_normal = np.argmin(
        np.column_stack([random.random(remote.shape) < anomalous, np.zeros(draws, bool)]), axis=1
    )
    return np.column_stack([np.zeros(draws), weights])[np.arange(draws), first_normal]
