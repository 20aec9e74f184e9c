"""Calibrations from labelled and unlabelled images, their severities, and their file."""

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from vlad.calibration import (
    Calibration,
    from_labels,
    from_normals,
    from_unlabelled,
    load_calibration,
    save_calibration,
)
from vlad.calibration.conformal import conformal_threshold
from vlad.calibration.labels import below, labelled_threshold
from vlad.calibration.severity import excess, learned_edges, severities
from vlad.calibration.sources import share_threshold
from vlad.errors import InputError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_labelled_thresholds_against_trying_all(rng):
    for decimals in (9, 1):
        scores = np.concatenate([rng.normal(0, 1, 60), rng.normal(1.5, 1, 30)]).round(decimals)
        labels = np.repeat([False, True], [60, 30])
        tried = [below(t, scores) for t in np.unique(scores)]
        best = max(f1_score(labels, scores > t) for t in tried)
        assert f1_score(labels, scores > labelled_threshold(scores, labels)) == best
        found = labelled_threshold(scores, labels, "recall=0.9")
        enough = [t for t in tried if (scores[labels] > t).mean() >= 0.9]
        assert (scores > found).sum() == min((scores > t).sum() for t in enough)
        found = labelled_threshold(scores, labels, "precision=0.8")
        clean = [t for t in tried if labels[scores > t].mean() >= 0.8]
        assert labels[scores > found].sum() == max(labels[scores > t].sum() for t in clean)
        assert labels[scores > found].mean() >= 0.8
        tried.append(scores.max())
        for cost in (0.01, 0.5, 1, 10, 1000):
            found = labelled_threshold(scores, labels, f"miss-cost={cost}")
            assert spent(scores, labels, found, cost) == pytest.approx(
                min(spent(scores, labels, t, cost) for t in tried)
            )


def spent(scores, labels, threshold, cost):
    return (~labels & (scores > threshold)).sum() + cost * (labels & (scores <= threshold)).sum()


def test_a_cost_of_misses_moves_the_threshold():
    scores = np.array([1.0, 2, 3, 4, 5, 6, 7, 8])
    labels = np.array([0, 0, 1, 0, 0, 0, 1, 1], bool)
    # 3 alarms save the miss at score 3
    assert labelled_threshold(scores, labels, "miss-cost=2.9") == 6.5
    assert labelled_threshold(scores, labels, "miss-cost=3.1") == 2.5
    # of equal costs the one that misses least
    assert labelled_threshold(scores, labels, "miss-cost=3") == 2.5
    # a score of a good image above all defects is not worth an alarm
    worst = np.array([1.0, 9, 2, 3])
    assert labelled_threshold(worst, np.array([0, 0, 1, 1], bool), "miss-cost=0.4") == 9


def test_a_threshold_lies_half_way_to_the_next_score():
    assert below(3.0, np.array([1.0, 3.0, 5.0])) == 2.0
    assert below(1.0, np.array([1.0, 3.0])) < 1.0
    near = np.array([1.0, np.nextafter(1.0, 2)])
    assert near[0] <= below(near[1], near) < near[1]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("f2", "unknown target"),
        ("recall", "unknown target"),
        ("recall=2", "unknown target"),
        ("recall=x", "unknown target"),
        ("f1=0.5", "unknown target"),
        ("miss-cost", "unknown target"),
        ("miss-cost=0", "unknown target"),
        ("miss-cost=inf", "unknown target"),
        ("miss-cost=nan", "unknown target"),
        ("precision=0.99", "no threshold reaches a precision of 0.99"),
    ],
)
def test_targets_that_cannot_be(target, words):
    scores, labels = np.arange(10.0), np.arange(10) % 2 == 0
    with pytest.raises(InputError, match=words):
        labelled_threshold(scores, labels, target)


def test_one_class_is_a_sentence():
    for level, word in (
        (1, "labelled images are normal, but at least 2"),
        (0, "none .* is anomalous"),
    ):
        with pytest.raises(InputError, match=word):
            from_labels({"a": np.arange(10.0)}, np.full(10, level))


def test_the_rate_told_is_that_of_the_conformal_threshold(rng):
    """A rate of k in n + 1, which lets k - 1 of the n normal images through."""
    scores = np.concatenate([rng.normal(size=60), rng.normal(2, 1, size=30)])
    levels = np.repeat([0, 1], [60, 30])
    for found in (from_labels({"a": scores}, levels), from_unlabelled({"a": scores})):
        known, threshold = found.reference["a"], found.thresholds["a"]
        same = conformal_threshold(known, found.rates["a"])
        assert (known > same).sum() == (known > threshold).sum() > 0


def test_severities_are_one_two_and_three_times_the_way_to_the_threshold():
    reference = np.array([-0.5, 0.0, 0.5])
    scores = np.array([0.9, 1.1, 1.9, 2.1, 2.9, 3.1, 9])
    assert severities(scores, reference, 1.0).tolist() == [0, 1, 1, 2, 2, 3, 3]


def test_severities_start_at_the_threshold_and_are_learned_from_levels(rng):
    reference, threshold = rng.normal(size=99), 2.0
    scores = np.array([-5, 0, 2, np.nextafter(2, 3), 3, 4.5, 50])
    found = severities(scores, reference, threshold)
    assert found.tolist()[:4] == [0, 0, 0, 1]
    assert (np.diff(found) >= 0).all() and found[-1] == 3
    moved = severities(7 * scores - 3, 7 * reference - 3, 7 * threshold - 3)
    assert moved.tolist() == found.tolist()

    levels = np.repeat([0, 1, 2, 3], 50)
    scores = rng.normal(3.0 * levels, 0.4)
    edges = learned_edges(scores, levels, scores[:50], 1.5)
    told = severities(scores, scores[:50], 1.5, edges)
    assert (told == levels).mean() > 0.97
    ways = excess(np.array([4.5, 7.5]), scores[:50], 1.5)
    assert edges[0] == 1 and edges[1:] == pytest.approx(ways, rel=0.25)
    calibrated = from_labels({"a": scores}, levels)
    assert (calibrated.decide({"a": scores})["a"].severity == levels).mean() > 0.95


def test_unlabelled_images_set_their_own_threshold(rng):
    scores = np.concatenate([rng.normal(0, 1, 180), rng.normal(7, 1, 20)])
    both = {"a": scores, "b": np.exp(0.3 * scores + 0.1 * rng.normal(size=200))}
    found = from_unlabelled(both, {"a": scores}, method="fisher")
    assert found.share["low"] <= found.share["mean"] <= found.share["high"]
    assert 0.05 < found.share["mean"] < 0.2
    for name in ("a", "b", "fused"):
        called = found.decide(both, own=True)[name].anomalous
        assert called[180:].mean() > 0.6 and called[:180].mean() < 0.06
    assert found.map_thresholds["a"] < 4
    with pytest.raises(InputError, match="at least 10, got 9"):
        from_unlabelled({"a": scores[:9]})


def test_a_share_of_equal_scores_stays_below():
    assert (np.arange(10) > share_threshold(np.arange(10.0), 0.3)).sum() == 3
    ties = np.array([1.0, 1, 1, 2, 2, 2, 2, 3])
    assert (ties > share_threshold(ties, 0.5)).sum() == 1
    assert not (np.ones(5) > share_threshold(np.ones(5), 0.4)).any()
    assert not (np.arange(5) > share_threshold(np.arange(5.0), 0.01)).any()


def test_a_file_brings_back_every_verdict(tmp_path, rng):
    known = {"a": rng.normal(size=50), "b": rng.normal(size=50)}
    new = {"a": rng.normal(2, 2, size=30), "b": rng.normal(2, 2, size=30)}
    first = from_normals(known, {"a": known["a"]}, method="stouffer", settings={"weights": "1"})
    again = load_calibration(save_calibration(first, tmp_path / "c.json"))
    assert again.settings == {"weights": "1"} and again.map_thresholds == first.map_thresholds
    for name, verdicts in first.decide(new).items():
        for key, values in vars(verdicts).items():
            assert (getattr(again.decide(new)[name], key) == values).all()
    fixed = load_calibration(save_calibration(Calibration.fixed("a", 1.5), tmp_path / "f.json"))
    assert fixed.decide({"a": [1, 2]})["a"].anomalous.tolist() == [False, True]
    with pytest.raises(InputError, match="head b, but there are no scores of it"):
        first.decide({"a": new["a"]})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("thresholds"), "it lacks 'thresholds'"),
        (lambda c: c.update(kind="run"), "other JSON"),
        (lambda c: c["reference"].update(a=[]), "different numbers of reference scores"),
        (lambda c: c["reference"].update(b=[1.0]), "different numbers of reference scores"),
        (lambda c: c["thresholds"].update(a=float("nan")), "NaN"),
        (lambda c: c["thresholds"].pop("a"), "not those of its heads"),
        (lambda c: c.update(method="mean"), "fused by 'mean'"),
        (lambda c: c["reference"].update(a=["x"] * 50), "not a calibration"),
        (lambda c: c.update(defects={"b": [1.0]}), "not scores of its heads"),
        (lambda c: c.update(holdout={"a": []}), "not scores of its heads"),
        (lambda c: c.update(holdout={"a": ["x"]}), "not lists of numbers"),
        (lambda c: c.update(holdout={"a": [float("nan")]}), "NaN"),
        (lambda c: c.update(reference=3), "not a calibration"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, change, words):
    file = save_calibration(from_normals({"a": np.arange(50.0)}), tmp_path / "c.json")
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        load_calibration(file)
    for text in ("", "[1, 2]", "null"):
        file.write_text(text)
        with pytest.raises(InputError, match="not a calibration"):
            load_calibration(file)
    with pytest.raises(InputError, match="vlad calibrate"):
        load_calibration(tmp_path / "nowhere.json")
