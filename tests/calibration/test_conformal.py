"""Split-conformal p-values: their definition, and the false-alarm rate that they promise."""

import numpy as np
import pytest

from vlad.calibration import from_normals
from vlad.calibration.conformal import conformal_threshold, least_reference, p_values
from vlad.errors import InputError


def plain_p(score, reference):
    return (1 + sum(other >= score for other in reference)) / (len(reference) + 1)


@pytest.mark.parametrize("decimals", [0, 1, 9])  # few values, hence many ties, to none
def test_p_values_and_threshold_by_their_definition(decimals):
    rng = np.random.default_rng(decimals)
    for count in (19, 20, 39, 57, 99):
        reference, scores = (rng.normal(size=n).round(decimals) for n in (count, 200))
        found = p_values(scores, reference)
        assert found.tolist() == [plain_p(score, reference) for score in scores]
        for rate in (0.05, 0.1, 0.3, 0.999):
            called = scores > conformal_threshold(reference, rate)
            assert (called == (found <= rate + 1e-12)).all()


def test_the_rate_holds_for_new_normal_images():
    rng = np.random.default_rng(0)
    for rate in (0.05, 0.2):
        alarms = []
        for _ in range(2000):
            scores = rng.lognormal(size=60)
            alarms += (scores[:20] > conformal_threshold(scores[20:], rate)).tolist()
        # 40 references: exactly floor(rate · 41) / 41 of them on average
        expected = np.floor(rate * 41) / 41
        assert np.mean(alarms) == pytest.approx(expected, abs=0.008)
        assert expected <= rate


@pytest.fixture(scope="module")
def hazelnuts():
    """Scores and map maxima of normal hazelnuts that the head was not shown."""
    import vlad
    from vlad.datasets import load_dataset
    from vlad.demo import HAZELNUT

    normals = [s.path for s in load_dataset("mvtec", HAZELNUT).train("hazelnut")]
    detector = vlad.load("memory", backbone="vlad-tiny", device="cpu").fit(normals[:4])
    scores = detector.score(normals[4:])
    return scores.image_score, scores.anomaly_map.max(axis=(1, 2))


def test_the_rate_holds_on_held_out_images(hazelnuts):
    rng = np.random.default_rng(0)
    scores, maxima = hazelnuts
    alarms, regions = [], []
    for _ in range(4000):  # which image is new is drawn, as the promise has it
        order = rng.permutation(len(scores))
        new, known = order[:1], order[1:]
        found = from_normals({"memory": scores[known]}, {"memory": maxima[known]}, false_alarms=0.1)
        alarms += found.decide({"memory": scores[new]})["memory"].anomalous.tolist()
        regions += (maxima[new] > found.map_thresholds["memory"]).tolist()
    # 23 known ones: 2 of the 24 are over the threshold that the others set
    for rate in (np.mean(alarms), np.mean(regions)):
        assert 2 / 24 - 0.02 < rate <= 0.1


def test_too_few_images_for_the_rate():
    assert [least_reference(rate) for rate in (0.5, 0.1, 0.05, 0.01, 0.001)] == [1, 9, 19, 99, 999]
    assert conformal_threshold(np.arange(19.0), 0.05) == 18
    with pytest.raises(InputError, match=r"at least 19 held-out normal images, got 18"):
        conformal_threshold(np.arange(18.0), 0.05)
    for rate in (0, 1, -0.1, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            conformal_threshold(np.arange(50.0), rate)


def test_rates_next_to_none_and_to_all():
    scores = np.array([2.0, 1.0, 3.0])
    assert conformal_threshold(scores, 1 - 1e-16) == 1.0
    with pytest.raises(InputError, match="at least"):
        conformal_threshold(scores, 5e-324)
