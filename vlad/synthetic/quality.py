"""The quality of synthetic anomalies: the expected anomaly posterior.

Perini, Rudolph, Schmedding, Qiu, "Uncertainty-aware Evaluation of Auxiliary Anomalies with the
Expected Anomaly Posterior", TMLR (arXiv 2405.13699). An anomaly is useful if it differs from normal
examples but might still occur. The probability that x is anomalous has a Beta prior with mean `a`,
the rate of anomalies; a detector and the density of the normal examples give pseudo-observations of
it, few where the density is low. The posterior mean is

    EAP(x) = (a + n·p(x)·p(anomalous | x)) / (1 + n·p(x))

averaged over random subsets of n normal examples. Among them, p(anomalous | x) and the score are
low; far from all of them, p(x) is 0 and the score is the prior, whatever the detector's output; it
is high if x is near them but detected as anomalous.

As in the paper, p(x) is the inverse rarity of x, as a share of the sum over the normal examples and
x. The rarity (Han et al., "Rarity Score", ICLR 2023) is the smallest radius of the balls containing
x, each centred on a normal example and reaching its k-th neighbour; outside all balls, p(x) = 0.

Simplifications:

- There are no known anomalies. The paper chooses k so that the balls contain those it knows, by the
  95 % quantile of a Beta posterior; without any, this is the prior, and k is 95 % of the subset.
- The paper trains a detector on each subset, also on its known anomalies. Here it is the distance
  to the fifth nearest normal example, or any scores that the caller has.
- Its scores s become probabilities by 1 − 2^(−(s/t)²) (Vercruyssen et al., ICDM 2018), with t such
  that a share `a` of the normal examples, each held out, has s > t.
- The prior mean `a` is an argument; the paper takes the share of known anomalies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlad.errors import InputError

NEIGHBOUR = 5
FEWEST = NEIGHBOUR + 2
_REACH = 0.95


@dataclass(frozen=True)
class Posterior:
    """Results for M examples, each array (M,) float64, averaged over the subsets.

    Attributes:
        expected: the expected anomaly posterior, in [0, 1]; higher is more useful.
        probability: p(anomalous | x); low if an example resembles normal ones.
        evidence: n·p(x), the number of pseudo-observations; 0 if no normal example is near.
    """

    expected: np.ndarray
    probability: np.ndarray
    evidence: np.ndarray


def expected_anomaly_posterior(
    normals: np.ndarray,
    examples: np.ndarray,
    scores: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    prior: float = 0.05,
    subsets: int = 50,
    seed: int = 0,
) -> Posterior:
    """The expected anomaly posterior of synthetic anomalies.

    Embeddings are compared by direction, as is usual for CLIP.

    Args:
        normals: (N, D) embeddings of normal images, N at least 7.
        examples: (M, D) embeddings of synthetic anomalies, of the same backbone.
        scores: scores of a detector that has not seen them, on any number of normal images and on
            the M examples, higher is more anomalous; None uses distances between embeddings.
        prior: the mean of the Beta prior, whose two counts add up to 1.
        subsets: number of random subsets of the normal examples to average over.
        seed: seed of these subsets.

    Raises:
        InputError: too few normal examples, or embeddings of different widths.
    """
    if len(normals) < FEWEST:
        raise InputError(
            f"the quality of synthetic anomalies needs at least {FEWEST} normal images, got "
            f"{len(normals)}; give more of them."
        )
    if normals.shape[1:] != examples.shape[1:]:
        raise InputError(
            f"embeddings of {normals.shape[1:]} and {examples.shape[1:]} cannot be compared; "
            "take both from one backbone."
        )
    between, away = _distances(normals, normals), _distances(examples, normals)
    rng = np.random.default_rng(seed)
    found = []
    for share in rng.uniform(FEWEST / len(normals), 0.99, subsets):
        count = int(np.clip(round(share * len(normals)), FEWEST, len(normals)))
        chosen = rng.choice(len(normals), count, replace=False)
        own, other = between[np.ix_(chosen, chosen)], away[:, chosen]
        evidence = count * density(own, other)
        probability = squash(*(scores or _neighbour_scores(own, other)), prior)
        expected = (prior + evidence * probability) / (1 + evidence)
        found.append((expected, probability, evidence))
    return Posterior(*np.mean(found, axis=0))


def density(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """p(x), each example's inverse rarity as a share of all; 0 outside the balls.

    Args:
        own: (n, n) distances between the normal examples.
        other: (M, n) distances of the examples to them.

    Returns:
        (M,) in [0, 1].
    """
    n = len(own)
    neighbour = NEIGHBOUR + int(_REACH * (n - 1 - NEIGHBOUR))
    radii = np.sort(own, axis=1)[:, neighbour]  # the first is the distance to itself
    radii = np.maximum(radii, 1e-12)

    def inverse_rarity(distances: np.ndarray) -> np.ndarray:
        return 1 / np.where(distances <= radii, radii, np.inf).min(axis=1)

    found = inverse_rarity(other)
    return found / (found + inverse_rarity(own).sum())


def squash(normal: np.ndarray, scores: np.ndarray, rate: float) -> np.ndarray:
    """Scores as probabilities, 0.5 at the score that a share `rate` of the normal ones exceeds."""
    threshold = max(float(np.quantile(normal, 1 - rate)), 1e-12)
    return 1 - 2.0 ** -((np.asarray(scores, np.float64) / threshold) ** 2)


def _neighbour_scores(own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances of held-out normal examples and of others to the fifth nearest normal example."""
    held_out = np.sort(own, axis=1)[:, NEIGHBOUR]
    return held_out, np.sort(other, axis=1)[:, NEIGHBOUR - 1]


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(M, N) Euclidean distances between unit vectors."""
    a, b = (x.astype(np.float64) for x in (a, b))
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (a, b))
    squared = 2 - 2 * a @ b.T
    # rounding must not separate a vector from itself
    return np.sqrt(np.where(squared < 1e-12, 0, squared))
