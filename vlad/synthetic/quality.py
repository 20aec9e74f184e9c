"""How good synthetic anomalies are: the expected anomaly posterior.

Perini, Rudolph, Schmedding, Qiu, "Uncertainty-aware Evaluation of Auxiliary Anomalies with the
Expected Anomaly Posterior", TMLR (arXiv 2405.13699). An anomaly is of use if it can be told from
normal examples and yet might occur. The probability that x is anomalous has a Beta prior whose
mean `a` is the rate of anomalies; a detector and the density of the normal examples give
pseudo-observations of it, few where the density is low. The mean of the posterior is

    EAP(x) = (a + n·p(x)·p(anomalous | x)) / (1 + n·p(x))

averaged over random subsets of n normal examples. Among them p(anomalous | x) is low, and so is
the score; far from all of them p(x) is 0, and the score is the prior, whatever the detector says;
it is high where x lies near them and is told apart.

As in the paper, p(x) is the inverse of the rarity of x, as a share of the sum over the normal
examples and x. The rarity (Han et al., "Rarity Score", ICLR 2023) is the least radius of the balls
that hold x, each about a normal example and through its k-th neighbour; outside all balls p(x) = 0.

Simplified here:

- There are no known anomalies. The paper chooses k so that those it knows lie in the balls, by the
  95 % quantile of a Beta posterior; without any, that is its prior, and k is 95 % of the subset.
- The paper trains a detector, also on its known anomalies, anew on each subset. Here it is the
  distance to the fifth nearest normal example, or any scores that the caller has.
- Its scores s become probabilities by 1 − 2^(−(s/t)²) (Vercruyssen et al., ICDM 2018), t being
  such that a share `a` of the normal examples, each held out, has s > t.
- The prior mean `a` is an argument, where the paper takes the share of known anomalies.
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
    """What is known of M examples, each array (M,) float64, averaged over the subsets.

    Attributes:
        expected: the expected anomaly posterior, in [0, 1]; higher is of more use.
        probability: p(anomalous | x); low where an example cannot be told from normal ones.
        evidence: n·p(x), how many pseudo-observations there are; 0 where nothing normal is near.
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

    Embeddings are compared by direction, as CLIP's are meant to be.

    Args:
        normals: (N, D) embeddings of normal images, N at least 7.
        examples: (M, D) embeddings of synthetic anomalies, of the same backbone.
        scores: of a detector that has not seen them, on any number of normal images and on the
            M examples, higher is more anomalous; None takes distances between the embeddings.
        prior: the mean of the Beta prior, whose two counts add up to 1.
        subsets: how many random subsets of the normal examples are averaged over.
        seed: of these subsets.

    Raises:
        InputError: fewer normal examples, or embeddings of different widths.
    """
    if len(normals) < FEWEST:
        raise InputError(
            f"the quality of synthetic anomalies is told from at least {FEWEST} normal images, "
            f"and there are {len(normals)}; give more of them."
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
    """p(x), the inverse rarity of each example as a share of all; 0 outside the balls.

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
    """Scores as probabilities, one half where a share `rate` of the normal scores is higher."""
    threshold = max(float(np.quantile(normal, 1 - rate)), 1e-12)
    return 1 - 2.0 ** -((np.asarray(scores, np.float64) / threshold) ** 2)


def _neighbour_scores(own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the fifth nearest normal example, of the normal ones held out, and of others."""
    held_out = np.sort(own, axis=1)[:, NEIGHBOUR]
    return held_out, np.sort(other, axis=1)[:, NEIGHBOUR - 1]


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(M, N) Euclidean distances between unit vectors."""
    a, b = (x.astype(np.float64) for x in (a, b))
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (a, b))
    squared = 2 - 2 * a @ b.T
    # rounding must not part a vector from itself
    return np.sqrt(np.where(squared < 1e-12, 0, squared))
