"""The stability of decisions under another draw of normal images."""

import numpy as np
import pytest
from scipy.stats import betabinom, iqr, norm

from vlad.calibration import from_labels, from_normals
from vlad.calibration.conformal import conformal_threshold, least_reference
from vlad.calibration.rejection import TINY, _share_above, decision_confidence
from vlad.errors import InputError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.3])
def test_with_many_references_the_likelier_side_is_the_verdict(rng, rate):
    reference = rng.gamma(4, size=5000)
    scores = rng.gamma(4, size=400) + rng.choice([0, 3], 400)
    called = scores > conformal_threshold(reference, rate)
    probability, confidence = decision_confidence(scores, reference, rate)
    same = (probability > 0.5) == called
    assert same.mean() > 0.98
    assert (confidence[~same] < 0.5).all() and (confidence[same] >= 0.5).all()
    assert confidence == pytest.approx(np.where(called, probability, 1 - probability))


@pytest.mark.parametrize("n", [19, 30, 100])
def test_a_threshold_among_the_references_is_the_rule(rng, n):
    """The decision whose confidence is told is that of the conformal threshold, ties included."""
    reference = rng.normal(size=n).round(1)
    scores = np.concatenate([reference, reference + 0.01, reference - 0.01])
    for rate in (1 / (n + 1), 0.05, 0.1, 0.5):
        if n < least_reference(rate):
            continue
        called = scores > conformal_threshold(reference, rate)
        probability, confidence = decision_confidence(scores, reference, rate)
        assert confidence == pytest.approx(np.where(called, probability, 1 - probability))


@pytest.mark.parametrize("n", [100, 300])
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, size: rng.normal(size=size),
        lambda rng, size: rng.gamma(2, size=size),
        lambda rng, size: rng.standard_t(3, size=size),
    ],
    ids=["normal", "gamma", "t"],
)
def test_decisions_turn_as_often_as_is_said(rng, n, draw):
    """A decision and its confidence come from one sample; many others then judge the same score."""
    draws = draw(rng, (400, n))
    rate, told, seen = 0.05, [], []
    scores = np.linspace(0, 8, 161)
    thresholds = np.array([conformal_threshold(r, rate) for r in draws])
    again = (scores > thresholds[:, None]).mean(axis=0)
    for reference in draws[:60]:
        called = scores > conformal_threshold(reference, rate)
        told.append(decision_confidence(scores, reference, rate)[1])
        seen.append(np.where(called, again, 1 - again))
    told, seen = np.concatenate(told), np.concatenate(seen)
    assert told.mean() == pytest.approx(seen.mean(), abs=0.01)
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 0.97), (0.97, 0.99), (0.99, 2)):
        part = (told >= low) & (told < high)
        assert told[part].mean() == pytest.approx(seen[part].mean(), abs=0.05), (low, high)
    # what would be withheld turns far more often than what is decided
    assert (1 - seen[told < 0.9]).mean() > 10 * (1 - seen[told >= 0.9]).mean()


def test_bootstrapped_references_turn_decisions_as_often_as_is_said(rng):
    n, rate = 400, 0.1
    reference = rng.normal(size=n)
    scores = np.linspace(-1, 3, 60)
    called = scores > conformal_threshold(reference, rate)
    turned = []
    for weights in rng.dirichlet(np.ones(n), 500):
        drawn = rng.choice(reference, n, p=weights)
        turned.append((scores > conformal_threshold(drawn, rate)) != called)
    _, confidence = decision_confidence(scores, reference, rate)
    # the bootstrap has the steps of one sample, the kernels smooth them
    difference = np.mean(turned, axis=0) - (1 - confidence)
    assert abs(difference.mean()) < 0.01 and np.abs(difference).max() < 0.15


@pytest.mark.parametrize(("n", "rate"), [(20, 0.05), (57, 0.3), (400, 0.02)])
@pytest.mark.parametrize("tails", ["standard_normal", "standard_cauchy", "uniform"])
def test_a_plain_version_by_scipy(rng, n, rate, tails):
    reference, scores = getattr(rng, tails)(size=n), np.linspace(-6, 6, 40)
    deviation = min(reference.std(ddof=1), iqr(reference) / 1.349)
    share = norm.sf(scores[:, None], reference, deviation * (4 / n) ** (1 / 3)).mean(axis=1)
    expected = betabinom.cdf(int(rate * (n + 1)) - 1, n, n * share + TINY, n * (1 - share) + TINY)
    assert decision_confidence(scores, reference, rate)[0] == pytest.approx(expected, abs=1e-9)


def test_shares_come_to_the_ranks_as_n_grows(rng):
    errors = []
    for n in (30, 300, 30_000):
        reference, scores = rng.normal(size=n), np.linspace(-2.5, 2.5, 50)
        ranks = (1 + (reference > scores[:, None]).sum(axis=1)) / (2 + n)
        errors.append(np.abs(_share_above(scores, reference) - ranks).max())
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.005


def test_few_references_are_enough_for_what_lies_far_out(rng):
    reference = rng.normal(size=24)
    probability, confidence = decision_confidence([-5.0, 100.0], reference, 0.05)
    assert probability == pytest.approx([0, 1], abs=1e-5)
    assert confidence == pytest.approx([1, 1], abs=1e-5)


def test_order_scale_and_blocks(rng, monkeypatch):
    reference, scores = rng.normal(size=60), np.sort(rng.normal(1, 2, 500))
    probability, confidence = decision_confidence(scores, reference, 0.05)
    assert (np.diff(probability) > -1e-12).all()
    assert ((confidence >= 0) & (confidence <= 1)).all()
    moved = decision_confidence(7 * scores - 3, rng.permutation(7 * reference - 3), 0.05)
    assert moved[0] == pytest.approx(probability)
    monkeypatch.setattr("vlad.calibration.rejection.BLOCK", 1000)
    again, _ = decision_confidence(scores, reference, 0.05)
    assert again == pytest.approx(probability, abs=1e-12)
    assert decision_confidence([], reference, 0.05)[1].shape == (0,)


def test_references_without_width():
    probability, confidence = decision_confidence([0.0, 0.1, 0.3], [0.1] * 30, 0.05)
    assert probability == pytest.approx([0, 0, 1], abs=1e-5)
    assert confidence == pytest.approx([1, 1, 1], abs=1e-5)
    # half of them equal: the quartiles coincide, yet there is a width
    mixed = [0.1] * 30 + [0.2, 0.3, 0.4, 0.5]
    probability, _ = decision_confidence([0.1, 0.45, 9.0], mixed, 0.1)
    assert probability[0] < 0.05 < probability[1] < 0.99 < probability[2]


def test_a_rate_below_what_the_references_allow_calls_nothing(rng):
    probability, confidence = decision_confidence([0.0, 1e9], rng.normal(size=20), 0.01)
    assert probability.tolist() == [0, 0] and confidence.tolist() == [1, 1]


def test_verdicts_abstain_where_another_sample_might_turn_them(rng):
    reference = rng.normal(size=60)
    scores = np.linspace(-2, 6, 200)
    shares = []
    for level in (0.6, 0.9, 0.99):
        verdicts = from_normals({"a": reference}, confidence=level).decide({"a": scores})["a"]
        _, confidence = decision_confidence(scores, reference, 0.05)
        assert (verdicts.abstain == (confidence < level)).all()
        shares.append(verdicts.abstain.mean())
        assert not verdicts.abstain[[0, -1]].any()
    assert 0 < shares[0] < shares[1] < shares[2] < 0.5
    assert not from_normals({"a": reference}).decide({"a": scores})["a"].abstain.any()


def test_between_the_normal_images_and_a_labelled_threshold_nothing_is_sure(rng):
    normal, anomalous = rng.normal(size=60), rng.normal(20, 1, 10)
    levels = np.repeat([0, 1], [60, 10])
    found = from_labels({"a": np.concatenate([normal, anomalous])}, levels, confidence=0.9)
    middle = found.thresholds["a"] - 1
    assert normal.max() + 3 < middle
    verdicts = found.decide({"a": [0.0, middle, 20.0]})["a"]
    assert verdicts.anomalous.tolist() == [False, False, True]
    assert verdicts.abstain.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("scores", "reference", "rate", "words"),
    [
        ([1.0], [1.0], 0.1, "needs 2 reference scores, got 1"),
        ([1.0, np.nan], [1.0, 2.0], 0.1, "the scores must be"),
        ([1.0], [1.0, np.inf], 0.1, "the reference scores must be"),
        ([[1.0]], [1.0, 2.0], 0.1, "the scores must be"),
        ([1.0], [1.0, 2.0], 1.0, "false_alarms is 1.0; give"),
        ([1.0], [1.0, 2.0], float("nan"), "false_alarms is nan; give"),
    ],
)
def test_bad_input_is_one_sentence(scores, reference, rate, words):
    with pytest.raises(InputError, match=words):
        decision_confidence(scores, reference, rate)
