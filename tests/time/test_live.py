"""Events found while frames come are those found afterwards."""

import math
from dataclasses import replace

import numpy as np
import pytest

from vlad.errors import InputError
from vlad.time import LiveEvents, Smoothing, find_events


def walk(seconds, scores, *settings):
    """(smoothed scores, events, frames of each event) of frames that come one by one."""
    live = LiveEvents(*settings)
    smoothed, events, inside = [], [], []
    for place, (at, score) in enumerate(zip(seconds, scores, strict=True)):
        step = live.add(at, score)
        smoothed.append(step.smoothed)
        events += [step.ended] if step.ended else []
        if step.going:
            assert step.going.ended is None and step.going.last == place
            if step.going.first == place:
                inside.append([])
            inside[-1].append(place)
    last = live.close()
    return smoothed, [*events, *([last] if last else [])], inside


@pytest.mark.parametrize("smoothing", [Smoothing(), Smoothing("ewma", 0.7)], ids=str)
@pytest.mark.parametrize("seed", range(8))
def test_as_found_afterwards(seed, smoothing):
    generator = np.random.default_rng(seed)
    scores = np.round(np.convolve(generator.random(300), np.ones(4) / 4, "same"), 2)
    seconds = np.cumsum(generator.choice([0.1, 0.5, 9.0], 300, p=[0.6, 0.35, 0.05]))
    seconds[150:] -= 40.0
    reasons = set()
    for begin, release in ((0.6, 0.45), (0.6, 0.6), (0.5, 0.9), (0.3, 0.0)):
        smoothed, events, inside = walk(seconds, scores, begin, release, smoothing, 3.0)
        np.testing.assert_allclose(smoothed, smoothing(seconds, scores, 3.0), rtol=1e-12)
        assert events == find_events(seconds, np.array(smoothed), begin, release, 3.0)
        assert [[e.first, e.last] for e in events] == [[x[0], x[-1]] for x in inside]
        reasons |= {event.ended for event in events}
    assert reasons >= {"score", "gap"}


def test_the_usual_gap_is_ten_of_the_latest_steps():
    live = LiveEvents(0.5, 0.5, Smoothing(), None)
    live.add(0.0, 0.0)
    assert live.gap == 10.0
    for place in range(1, 5):
        live.add(place * 0.5, 0.0)
    assert live.gap == 5.0
    for place in range(100):
        live.add(2 + place * 0.01, 0.0)
    assert live.gap == 1.0  # never shorter


@pytest.mark.parametrize("noticed", [True, False])
def test_a_camera_that_is_away_for_an_hour_ends_the_event_once(noticed):
    live = LiveEvents(0.5, 0.5, Smoothing("ewma", 60), None)
    for place in range(10):
        going = live.add(place * 0.25, 0.9).going
    assert going.frames == 10
    expected = replace(going, ended="gap")
    assert live.away(2.25 + 2.5) is None  # 10 steps are not more than 10 steps
    if noticed:
        assert live.away(2.25 + 2.6) == expected and live.away(3000.0) is None
    step = live.add(3602.25, 0.1)
    assert step.ended == (None if noticed else expected) and step.going is None
    assert step.smoothed == 0.1  # nothing is taken across the gap


def test_an_infinite_gap_holds_an_event_until_frames_come_again():
    live = LiveEvents(0.5, 0.5, Smoothing(), math.inf)
    live.add(0.0, 0.9)
    assert live.away(3600.0) is None
    step = live.add(3600.0, 0.8)
    assert step.ended is None and step.going.end == 3600.0 and step.going.frames == 2


def test_smoothing_that_needs_later_frames_is_refused():
    with pytest.raises(
        InputError, match=r"gaussian=2 needs frames that have not come yet; .*ewma=2"
    ):
        LiveEvents(0.5, 0.5, Smoothing("gaussian", 2), None)
