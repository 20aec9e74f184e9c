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

COMPONENTS = 10  # at most; those that are not needed stay empty
CONCENTRATION = 0.01  # of the Dirichlet process; small, for few components
DRAWS = 4000
STRAIGHT = 3.0  # spreads above the bulk up to which scores stay as they are
# remoteness at which a component is as likely anomalous as not, and how soon that changes
EVEN, SOFT = 1.3, 0.2
LARGE, VALLEY = 0.25, 0.5  # of `two_groups`


@dataclass(frozen=True)
class Contamination:
    """What is known of the share of anomalous images.

    Attributes:
        samples: (S,) draws of the share from its posterior, each in [0, 1].
    """

    samples: np.ndarray

    @property
    def mean(self) -> float:
        """The expected share."""
        return float(self.samples.mean())

    def quantile(self, q: ArrayLike) -> np.ndarray:
        """The share that is not exceeded with probability q, for each q in [0, 1]."""
        return np.quantile(self.samples, np.asarray(q))


def contamination(scores: ArrayLike, *, seed: int = 0) -> Contamination:
    """How many of these images are anomalous, from the scores of M heads alone.

    As in γGMM, a Dirichlet-process mixture of Gaussians is fitted to the scores of all heads, its
    components are ordered by remoteness r, the mean over heads of μ / (1 + σ), and the k most
    remote ones are the anomalous ones with probability p₁ ⋯ pₖ · (1 − pₖ₊₁), where p is a sigmoid
    of r. A draw of the share is a draw of k and of the weight of those k. μ, σ and the weights are
    drawn from the posterior of the mixture, so that few images leave the share wide open.

    Differences from the paper:

    - It fixes the sigmoid by two beliefs, P(nothing anomalous) = 0.01 and P(share > 0.15) = 0.01,
      which hold of the fitted components whatever the scores are, so that a fifth can never be
      anomalous, and the most remote component always is. Here the sigmoid is given, in units of the
      bulk of the images: a component as wide as the bulk is as likely anomalous as not at 2.6
      standard deviations from it. docs/thresholds.md has what came of that.
    - Scores are therefore measured from the middle of their shortest half, and in its spread, which
      anomalous images hardly move; logarithms begin `STRAIGHT` spreads above. The paper takes
      those of all scores, and their mean and standard deviation.
    - Components are at most 10, not 100, and the mass of empty ones is dropped, not shared out
      among the rest, where it would outweigh the images unless these are thousands.
    - μ and σ come from the normal-inverse-Wishart posterior itself.

    The bulk is taken to be normal: more than half of the images have to be. What a head cannot
    tell from normal is not counted, and odd normal images are.

    Args:
        scores: (N, M) raw image scores, higher is more anomalous; any scale. A head that gives all
            images the same score is left out.
        seed: of the fit and the draws.

    Raises:
        InputError: fewer than two images, a value that is no number, or heads that all give the
            same score to every image.
    """
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or len(scores) < 2 or not np.isfinite(scores).all():
        raise InputError(
            f"scores of shape {scores.shape} do not tell the share of anomalous images; give "
            "finite ones of 2 or more images in rows, one column for each head."
        )
    differ = np.ptp(scores, axis=0) > 0
    if not differ.any():
        raise InputError(
            f"all {len(scores)} images have the same score, which says nothing of how many are "
            "anomalous; choose another head, or give normal images."
        )
    scores = scores[:, differ]
    standard = _standard(scores)
    standard = standard[np.lexsort(standard.T)]  # the order of the images shall not matter
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
    # of a normal distribution the shortest half is 1.349 standard deviations wide
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
        covariance_prior=np.eye(heads),  # that of the bulk
        max_iter=1000,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture nearly settled will do
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
        weights: (S, K) of the first, of the first two, ...
    """
    from scipy.special import expit

    draws = len(remote)
    anomalous = expit((remote - EVEN) / SOFT)
    # the components are anomalous up to the first that is not
    first_normal = np.argmin(
        np.column_stack([random.random(remote.shape) < anomalous, np.zeros(draws, bool)]), axis=1
    )
    return np.column_stack([np.zeros(draws), weights])[np.arange(draws), first_normal]
