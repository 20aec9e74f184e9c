"""The expected anomaly posterior: its formula, and what it prefers."""

import numpy as np
import pytest

from vlad.errors import InputError
from vlad.synthetic.quality import NEIGHBOUR, expected_anomaly_posterior


def slow(normals, examples, prior, subsets, seed):
    """The same written out for one example and one subset at a time."""

    def distance(a, b):
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        return np.linalg.norm(a - b)

    rng = np.random.default_rng(seed)
    totals = np.zeros(len(examples))
    for share in rng.uniform(7 / len(normals), 0.99, subsets):
        n = max(7, round(share * len(normals)))
        chosen = normals[rng.choice(len(normals), n, replace=False)]
        k = 5 + int(0.95 * (n - 6))
        radius, fifth = [], []
        for i in range(n):
            others = sorted(distance(chosen[i], chosen[j]) for j in range(n) if j != i)
            radius.append(others[k - 1])
            fifth.append(others[NEIGHBOUR - 1])

        def closeness(x, chosen=chosen, radius=radius):
            holding = [
                r for y, r in zip(chosen, radius, strict=True) if distance(x, y) <= r + 1e-12
            ]
            return 1 / min(holding) if holding else 0

        usual = sum(closeness(y) for y in chosen)
        threshold = np.quantile(fifth, 1 - prior)
        for m, x in enumerate(examples):
            density = closeness(x) / (closeness(x) + usual)
            score = sorted(distance(x, y) for y in chosen)[NEIGHBOUR - 1]
            anomalous = 1 - 2 ** -((score / threshold) ** 2)
            totals[m] += (prior + n * density * anomalous) / (1 + n * density)
    return totals / subsets


def test_formula():
    rng = np.random.default_rng(0)
    normals, examples = rng.normal(1, 0.4, (14, 4)), rng.normal(1, 0.9, (6, 4))
    found = expected_anomaly_posterior(normals, examples, prior=0.1, subsets=6, seed=3)
    np.testing.assert_allclose(found.expected, slow(normals, examples, 0.1, 6, 3), rtol=1e-9)


def test_prefers_what_is_near_normal_and_yet_told_apart():
    rng = np.random.default_rng(0)
    normals = np.eye(8)[0] + rng.normal(0, 0.05, (60, 8))
    examples = {
        "unchanged": normals[:10],
        "near": np.eye(8)[0] + rng.normal(0, 0.09, (10, 8)),
        "noise": rng.normal(0, 1, (10, 8)),
    }
    found = {name: expected_anomaly_posterior(normals, x) for name, x in examples.items()}
    mean = {name: x.expected.mean() for name, x in found.items()}
    assert mean["near"] > mean["unchanged"] > mean["noise"]
    assert mean["noise"] == pytest.approx(0.05, abs=0.01)  # the prior: no evidence
    assert found["noise"].probability.min() > 0.99
    assert found["noise"].evidence.max() < 0.01


def test_scores_of_a_detector_take_the_place_of_distances():
    rng = np.random.default_rng(0)
    normals = np.eye(8)[0] + rng.normal(0, 0.05, (30, 8))
    usual = rng.uniform(1, 2, 20)
    sees, misses = np.full(5, 4.0), np.full(5, 1.0)
    found = [expected_anomaly_posterior(normals, normals[:5], (usual, s)) for s in (sees, misses)]
    assert (found[0].expected > found[1].expected + 0.3).all()
    np.testing.assert_array_equal(found[0].evidence, found[1].evidence)
    # a score at the level that 5 % of the usual ones exceed is as likely as not anomalous
    at = np.full(5, np.quantile(usual, 0.95))
    half = expected_anomaly_posterior(normals, normals[:5], (usual, at))
    np.testing.assert_allclose(half.probability, 0.5)


def test_errors():
    with pytest.raises(InputError, match="at least 7 normal images, got 6"):
        expected_anomaly_posterior(np.ones((6, 4)), np.ones((2, 4)))
    with pytest.raises(InputError, match="cannot be compared"):
        expected_anomaly_posterior(np.ones((9, 4)), np.ones((2, 5)))
