"""States of banks are chosen by what they gain on images that did not choose them."""

from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vlad.prompts.tuning import Checked, Chosen, Side, States, check, choose, halves, quality

DIM, TEMPLATES = 12, 3


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def drawn(seed, normal=5, anomalous=6, images=60):
    """Embeddings of images, and of the sentences of both sides (S, T, D)."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(images, DIM))
    labels = np.arange(images) % 2
    said = [random.normal(size=(n, TEMPLATES, DIM)) + 0.3 for n in (normal, anomalous)]
    return x, labels, said


def states_of(x, labels, said):
    sums = [s.sum(axis=1) for s in said]
    return States(*(Side(s @ unit(x).T, s @ s.T) for s in sums), labels)


def plain_margins(x, said, chosen):
    """By the means of all sentences, as `winclip` has them."""
    normal, anomalous = (
        said[i][list(places)].reshape(-1, DIM).mean(axis=0)
        for i, places in enumerate((chosen.normal, chosen.anomalous))
    )
    return unit(x) @ unit(anomalous) - unit(x) @ unit(normal)


def plain_choice(x, labels, said):
    """The same selection, every candidate computed from the embeddings."""

    def value(chosen):
        margins = plain_margins(x, said, chosen)
        bad, good = margins[labels == 1], margins[labels == 0]
        apart = (bad.mean() - good.mean()) / np.sqrt(bad.var() + good.var())
        return round(roc_auc_score(labels, margins), 12), round(apart, 12)

    counts = [len(s) for s in said]
    pairs = [Chosen((n,), (a,)) for n in range(counts[0]) for a in range(counts[1])]
    chosen = max(pairs, key=value)
    while True:
        more = [
            *(Chosen((*chosen.normal, n), chosen.anomalous) for n in range(counts[0])),
            *(Chosen(chosen.normal, (*chosen.anomalous, a)) for a in range(counts[1])),
        ]
        more = [c for c in more if all(len(set(side)) == len(side) for side in vars(c).values())]
        best = max(more, key=value)
        if value(best)[0] <= value(chosen)[0]:
            return chosen
        chosen = best


def test_selection_equals_the_slow_plain_one():
    lengths = []
    for seed in range(6):
        x, labels, said = drawn(seed)
        states = states_of(x, labels, said)
        found = choose(states)
        assert found == plain_choice(x, labels, said)
        margins = plain_margins(x, said, found)
        np.testing.assert_allclose(states.margins(found), margins, atol=1e-12)
        assert states.auroc(found) == pytest.approx(roc_auc_score(labels, margins))
        lengths.append((len(found.normal), len(found.anomalous)))
    assert max(n for n, _ in lengths) > 1 and max(a for _, a in lengths) > 1


def test_quality_counts_ties_half():
    labels = np.array([0, 0, 1, 1])
    margins = np.array([[0.0, 1, 1, 2], [1, 1, 1, 1], [2, 2, 0, 0]])
    np.testing.assert_allclose(quality(margins, labels)[:, 0], [0.875, 0.5, 0])


def planted(seed, images=80):
    """Defects move images along an axis that one state of many names, and no other does."""
    x, labels, said = drawn(seed, 5, 8, images)
    x[:, 0] = np.random.default_rng(seed + 100).normal(size=images) + 2.5 * labels
    said = [s * (np.arange(DIM) > 0) for s in said]
    said[1][3, :, 0] = 6
    return states_of(x, labels, said)


EVERYTHING = Chosen(tuple(range(5)), tuple(i for i in range(8) if i != 3))


def test_a_planted_state_is_found_and_its_gain_is_proven():
    states = planted(0)
    assert choose(states).anomalous[0] == 3
    found = check(states, EVERYTHING)
    assert found.proven and found.gain > 0.2
    assert found.halves == 40 and found.anomalous[3] == 40


@pytest.mark.parametrize("seed", range(10))
def test_labels_without_a_meaning_prove_nothing(seed):
    x, labels, said = drawn(seed, 5, 8, 60)
    states = states_of(x, labels, said)
    assert states.auroc(choose(states)) > 0.55  # which it seems to gain on the images that chose
    assert not check(states, EVERYTHING, seed).proven


def test_original_states_that_are_the_best_are_not_beaten():
    states = planted(1)
    found = check(states, choose(states))
    assert not found.proven and found.gain <= 0


def test_halves_have_half_of_each_label_and_no_image_in_common():
    labels = np.array([0] * 21 + [1] * 40)
    pairs = list(halves(labels, 0))
    assert len(pairs) == 40
    for one, other in pairs:
        assert sorted([*one, *other]) == list(range(61))
        assert (labels[one] == 1).sum() == 20 and (labels[one] == 0).sum() in (10, 11)
    again, others = list(halves(labels, 0)), list(halves(labels, 1))
    assert (again[0][0] == pairs[0][0]).all() and (others[0][0] != pairs[0][0]).any()


def test_noise_is_that_of_sets_that_share_images():
    """Of 40 halves, the standard error is the deviation of one, not a sixth of it."""
    states = planted(2)
    found = check(states, EVERYTHING, 5)
    gains = [
        states.of(other).auroc(choose(states.of(half))) - states.of(other).auroc(EVERYTHING)
        for half, other in halves(states.labels, 5)
    ]
    assert found.gain == pytest.approx(np.mean(gains))
    assert found.noise == pytest.approx(np.std(gains, ddof=1) * (1 + 1 / 40) ** 0.5)


@pytest.mark.parametrize(("noise", "proven"), [(0.049, True), (0.051, False), (0.0, True)])
def test_a_gain_of_two_standard_errors_is_proven(noise, proven):
    assert Checked(0.8, 0.7, noise, 40, Counter(), Counter()).proven is proven
    assert not Checked(0.7, 0.7, noise, 40, Counter(), Counter()).proven
