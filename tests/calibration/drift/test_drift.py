"""Drift: the stated false-alarm rate holds, changes are found and said in words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.covariance import ledoit_wolf

from vlad.calibration import Calibration, from_normals, load_calibration, save_calibration
from vlad.calibration.drift import DriftMonitor, compare, looks_of, why_not
from vlad.calibration.drift.bins import bins_p_value, index, quantile_bins
from vlad.calibration.drift.embeddings import (
    distances,
    embeddings_p_value,
    projected,
    whitened,
)
from vlad.errors import InputError
from vlad.types import Seen


def draw(random, count, *, dark=1.0, blur=0.0, elsewhere=0.0, higher=0.0, width=6):
    """Scores of good images, and how they look."""
    embeddings = random.normal(0, np.linspace(1, 0.2, width), (count, width))
    embeddings[:, 0] += 4
    embeddings[:, -1] += elsewhere
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    brightness, sharpness = random.normal(0.4, 0.02, count), random.normal(-5, 0.3, count)
    seen = [
        Seen(float(dark * b), float(s - blur), e.astype(np.float32))
        for b, s, e in zip(brightness, sharpness, embeddings, strict=True)
    ]
    return random.gamma(4, 1, count) + higher, seen


def calibrated(random, count=60):
    scores, seen = draw(random, count)
    return replace(from_normals({"memory": scores}), drift=looks_of(seen))


def names(drift):
    return [part.name for part in drift.moved]


@pytest.mark.parametrize("count", [19, 80])
def test_windows_drawn_like_the_calibration_alarm_no_more_often_than_stated(count):
    random, rate, windows = np.random.default_rng(count), 0.05, 1000
    alarms = 0
    for _ in range(windows):
        scores, seen = draw(random, 40)
        alarms += bool(compare(calibrated(random, count), {"memory": scores}, seen, rate).moved)
    assert alarms <= binom.ppf(0.999, windows, rate)
    assert alarms >= 3  # or nothing would ever be found


def test_a_stretch_as_long_as_the_window_has_the_stated_rate_over_all_its_comparisons():
    random, rate, stretches = np.random.default_rng(5), 0.08, 400
    alarms = 0
    for _ in range(stretches // 2):
        monitor = DriftMonitor(calibrated(random), 32, rate)
        alarmed, before = set(), monitor.state
        for i, (score, seen) in enumerate(zip(*draw(random, 64), strict=True)):
            monitor.add({"memory": score}, seen)
            if monitor.state is not before and monitor.state.moved:
                alarmed.add(i // 32)
            before = monitor.state
        alarms += len(alarmed)
    assert alarms <= binom.ppf(0.999, stretches, rate)


@pytest.mark.parametrize(
    "change, part, words",
    [
        ({"dark": 0.8}, "brightness", r"are (19|20|21)% darker"),
        ({"dark": 1.2}, "brightness", r"are (19|20|21)% brighter"),
        ({"blur": 1.4}, "sharpness", r"have (4\d|5\d)% weaker edges"),
        ({"elsewhere": 2.0}, "embedding", "show something else, or the same from elsewhere"),
        ({"higher": 4.0}, "memory", r"score higher by memory than 99\.99% of calibration windows"),
        ({"higher": -3.0}, "memory", r"score lower by memory than"),
    ],
)
def test_a_change_is_found_and_said(change, part, words):
    random = np.random.default_rng(1)
    calibration = calibrated(random)
    scores, seen = draw(random, 100, **change)
    found = compare(calibration, {"memory": scores}, seen, 0.01)
    assert names(found) == [part]
    assert found.sentence.startswith("Drift: the last 100 images ")
    assert re.search(words, found.sentence)


@pytest.mark.parametrize(
    "change, moved",
    [
        ({"dark": 0.98}, []),
        ({"dark": 0.955}, ["brightness"]),
        ({"blur": 0.25}, []),
        ({"blur": 0.45}, ["sharpness"]),
    ],
)
def test_a_small_change_of_light_or_focus_is_no_drift_however_certain(change, moved):
    random = np.random.default_rng(14)
    scores, seen = draw(random, 300)
    steady = [replace(one, brightness=0.4 + 0.001 * one.brightness) for one in seen]
    calibration = replace(from_normals({"memory": scores}), drift=looks_of(steady))
    dark, blur = change.get("dark", 1), change.get("blur", 0)
    now = [
        replace(one, brightness=dark * one.brightness, sharpness=one.sharpness - blur)
        for one in steady
    ]
    assert names(compare(calibration, {"memory": scores}, now, 0.01)) == moved


def test_words_say_what_cannot_be_told_apart():
    random = np.random.default_rng(2)
    calibration = calibrated(random)
    scores, seen = draw(random, 100, higher=4)
    alone = compare(calibration, {"memory": scores}, seen, 0.01).sentence
    assert "either more of them are defective or the head sees" in alone
    scores, seen = draw(random, 100, higher=4, dark=0.8)
    both = compare(calibration, {"memory": scores}, seen, 0.01)
    assert "Check light and exposure before you move the threshold" in both.sentence
    assert "if many of these images are defective, that alone can be the cause" in both.sentence
    same = compare(calibration, {"memory": scores - 4}, seen, 0.01)
    assert same.sentence.endswith("The scores have not moved.")


def test_no_drift_is_said_with_its_numbers():
    random = np.random.default_rng(3)
    calibration = calibrated(random)
    scores, seen = draw(random, 50)
    found = compare(calibration, {"memory": scores}, seen, 0.01)
    assert found.sentence == (
        "No drift: the last 50 images look and score like the 60 good images of calibration."
    )
    assert replace(found, whole=True).sentence.startswith("No drift: these 50 images look")


# the statistics against slow plain versions


def plain_index(reference, window, count):
    """Population stability index, bin by bin."""
    edges, gaps = quantile_bins(reference)
    found = 0.0
    for k in range(count):
        low = edges[k - 1] if k else -np.inf
        high = edges[k] if k < count - 1 else np.inf
        inside = sum(low < x <= high for x in window)
        expected = gaps[k] / sum(gaps)
        share = (inside + 0.5 * count * expected) / (len(window) + 0.5 * count)
        found += (share - expected) * np.log(share / expected)
    return found


def test_the_index_is_that_of_a_plain_loop():
    random = np.random.default_rng(4)
    reference, window = random.normal(size=53), random.normal(0.5, 1, 30)
    edges, gaps = quantile_bins(reference)
    assert len(gaps) == 10
    counts = np.bincount(np.searchsorted(edges, window), minlength=10)
    assert index(counts, gaps) == pytest.approx(plain_index(reference, window, 10))


def test_the_p_value_of_bins_is_that_of_many_drawn_references_and_windows():
    random = np.random.default_rng(6)
    reference, window = random.normal(size=29), random.normal(0.45, 1, 25)
    found = plain_index(reference, window, 7)
    null = [plain_index(random.random(29), random.random(25), 7) for _ in range(1500)]
    expected = np.mean(np.array(null) >= found)
    assert 0.02 < expected < 0.6
    assert bins_p_value(reference, window) == pytest.approx(expected, abs=0.05)


def test_a_window_half_of_which_lies_outside_all_good_images_is_no_chance():
    """As where the light changed half-way, with few good images."""
    random = np.random.default_rng(0)
    window = np.concatenate([random.normal(size=50), random.normal(-10, 1, 50)])
    assert max(bins_p_value(random.normal(size=19), window) for _ in range(20)) < 0.0006


def test_values_that_are_equal_to_those_of_calibration_raise_no_alarm():
    reference = np.random.default_rng(0).normal(size=39)
    assert bins_p_value(reference, np.tile(reference, 5)) > 0.3


def test_scores_of_which_many_are_equal_raise_no_alarm_more_often_than_stated():
    assert bins_p_value(np.zeros(60), np.zeros(100)) > 0.3
    random, rate, windows = np.random.default_rng(21), 0.05, 400

    def draw_tied(count):
        return np.where(random.random(count) < 0.7, 0, random.random(count))

    alarms = sum(bins_p_value(draw_tied(60), draw_tied(100)) <= rate for _ in range(windows))
    assert alarms <= binom.ppf(0.999, windows, rate)
    assert bins_p_value(draw_tied(60), random.random(100)) < 0.001


def test_both_sets_together_are_whitened_by_their_shrunk_covariance():
    random = np.random.default_rng(7)
    reference, window = random.normal(size=(30, 5)) * [1, 2, 3, 4, 5], random.normal(size=(20, 5))
    both = np.concatenate([reference, window])
    x = whitened(reference, window)
    covariance, _ = ledoit_wolf(both)
    expected = np.linalg.inv(covariance)
    centred = both - both.mean(axis=0)
    np.testing.assert_allclose(x @ x.T, centred @ expected @ centred.T, atol=1e-8)


def test_the_distance_is_that_of_frechet_axis_by_axis():
    random = np.random.default_rng(8)
    x = random.normal(size=(40, 3))
    inside = np.arange(40) >= 28
    expected = 0.0
    for axis in range(3):
        a, b = x[inside, axis], x[~inside, axis]
        expected += (np.mean(a) - np.mean(b)) ** 2 + (np.std(a) - np.std(b)) ** 2
    assert distances(x, inside[None])[0] == pytest.approx(expected)


def test_embeddings_are_called_different_as_by_plain_permutations():
    random, level, called = np.random.default_rng(9), 0.05, set()
    for shift in (0, 0.1, 0.6, 1.5):
        reference, window = random.normal(size=(30, 4)), random.normal(shift, 1, (25, 4))
        x = whitened(reference, window)
        found = distances(x, (np.arange(55) >= 30)[None])[0]
        null = []
        for _ in range(500):
            inside = np.zeros(55, bool)
            inside[random.permutation(55)[:25]] = True
            null.append(distances(x, inside[None])[0])
        expected = np.mean(np.array(null) >= found)
        assert not 0.02 < expected < 0.1  # or chance decides
        assert (embeddings_p_value(reference, window, level) <= level) == (expected <= level)
        called.add(expected <= level)
    assert called == {True, False}


def test_long_embeddings_are_projected_the_same_way_each_time():
    random = np.random.default_rng(0)
    x = random.normal(size=(7, 300)).astype(np.float32)
    assert projected(x).shape == (7, 32)
    np.testing.assert_array_equal(projected(x)[:3], projected(x[:3]))
    lengths = np.linalg.norm(projected(x), axis=1) / np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(lengths, 32**0.5 / 300**0.5, rtol=0.5)
    # files of earlier runs hold such numbers
    assert projected(np.ones((1, 40)))[0, 0] == pytest.approx(projected(np.eye(40)).sum(0)[0])


# the monitor


def test_the_monitor_compares_while_its_window_fills_and_then_each_half():
    random = np.random.default_rng(10)
    monitor = DriftMonitor(calibrated(random), 80, 0.08)
    sizes = []
    for score, seen in zip(*draw(random, 200), strict=True):
        monitor.add({"memory": score}, seen)
        state = (monitor.state.images, monitor.state.rate)
        if not sizes or sizes[-1][1:] != state:
            sizes.append((len(sizes), *state))
    assert [size[1:] for size in sizes] == [
        (0, 0.08),
        (10, 0.01),
        (20, 0.01),
        (40, 0.02),
        (80, 0.04),
    ]


def test_the_monitor_tells_when_a_change_comes_and_goes():
    random = np.random.default_rng(11)
    monitor = DriftMonitor(calibrated(random), 40)
    told = []
    for change in ({}, {"dark": 0.7}, {}):
        for score, seen in zip(*draw(random, 80, **change), strict=True):
            if monitor.add({"memory": score}, seen):
                told.append(names(monitor.state))
    assert told == [["brightness"], []]


def test_the_rate_and_window_are_those_that_the_page_states():
    monitor = DriftMonitor(calibrated(np.random.default_rng(0)))
    page = (Path(__file__).parents[3] / "docs" / "drift.md").read_text(encoding="utf-8")
    stated = (
        f"The false-alarm rate is {monitor.rate:.0%} for each stretch of {monitor.window} images"
    )
    assert stated.replace("%", " %") in page


def test_the_monitor_starts_without_a_word():
    monitor = DriftMonitor(calibrated(np.random.default_rng(0)))
    assert not monitor.state.moved
    assert "too few images" in monitor.state.sentence


def test_images_with_other_embeddings_are_refused():
    random = np.random.default_rng(0)
    calibration = calibrated(random)
    scores, seen = draw(random, 30, width=7)
    with pytest.raises(InputError, match="embeddings of 6 numbers and these images have 7"):
        compare(calibration, {"memory": scores}, seen, 0.01)


def test_images_without_embeddings_are_compared_by_the_rest():
    random = np.random.default_rng(12)
    scores, seen = draw(random, 60, width=6)
    bare = [replace(one, embedding=np.zeros(0, np.float32)) for one in seen]
    calibration = replace(from_normals({"memory": scores}), drift=looks_of(bare))
    found = compare(calibration, {"memory": scores}, bare, 0.01)
    assert [part.name for part in found.parts] == ["memory", "brightness", "sharpness"]


# what a calibration keeps


def test_a_calibration_keeps_how_its_images_look(tmp_path):
    random = np.random.default_rng(13)
    calibration = calibrated(random)
    kept = load_calibration(save_calibration(calibration, tmp_path / "line.json"))
    scores, seen = draw(random, 50, dark=0.9)
    there, here = (compare(c, {"memory": scores}, seen, 0.01) for c in (kept, calibration))
    assert there == here


def test_a_file_of_an_earlier_version_loads_and_says_what_to_do(tmp_path):
    path = save_calibration(calibrated(np.random.default_rng(0)), tmp_path / "line.json")
    content = json.loads(path.read_text())
    del content["drift"]
    path.write_text(json.dumps(content))
    assert why_not(load_calibration(path)) == (
        "Drift cannot be told: the calibration does not know how its good images look, as one of "
        "an earlier version. Calibrate again."
    )
    with pytest.raises(InputError, match="calibrate on good images again"):
        DriftMonitor(load_calibration(path))


@pytest.mark.parametrize(
    "change",
    [
        {"width": "6"},
        {"embeddings": "AAAA"},
        {"brightness": [0.5]},
        {"sharpness": [float("nan")] * 60},
        None,
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change):
    path = save_calibration(calibrated(np.random.default_rng(0)), tmp_path / "line.json")
    content = json.loads(path.read_text())
    content["drift"] = {**content["drift"], **change} if change else [1]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is not a calibration"):
        load_calibration(path)


def test_looks_of_many_images_stay_small(tmp_path):
    random = np.random.default_rng(0)
    scores, seen = draw(random, 1000, width=200)
    calibration = replace(from_normals({"memory": scores}), drift=looks_of(seen))
    assert calibration.drift.embeddings.shape == (300, 32)
    assert len(calibration.drift.brightness) == 1000
    kept = load_calibration(save_calibration(calibration, tmp_path / "line.json"))
    assert kept.drift.embeddings.shape == (300, 32)


def test_a_number_and_too_few_images_tell_no_drift():
    assert "the threshold is a number" in why_not(Calibration.fixed("memory", 0.5))
    scores, seen = draw(np.random.default_rng(0), 9)
    few = Calibration("normals", {"memory": scores}, {"memory": 9.0}, {"memory": 0.1})
    assert "it takes 10 good images" in why_not(replace(few, drift=looks_of(seen)))
