"""Events by hysteresis against a slow plain version."""

import math

import numpy as np
import pytest

from vlad.time import Event, find_events


def plain(seconds, scores, threshold, release, gap):
    """The same by a walk over frames."""
    release = min(release, threshold)
    found, going = [], None
    for i, score in enumerate(scores):
        if i and not 0 <= seconds[i] - seconds[i - 1] <= gap and going:
            found.append((*going, "gap"))
            going = None
        if going is None:
            if score > threshold:
                going = [i, i, i]
        elif score > release:
            going[1] = i
            going[2] = i if score > scores[going[2]] else going[2]
        else:
            found.append((*going, "score"))
            going = None
    return [*found, *([(*going, "end")] if going else [])]


@pytest.mark.parametrize("seed", range(20))
def test_as_a_walk_over_the_frames_finds_them(seed):
    generator = np.random.default_rng(seed)
    scores = np.round(np.convolve(generator.random(300), np.ones(4) / 4, "same"), 2)
    seconds = np.cumsum(generator.choice([0.1, 0.5, 9.0], 300, p=[0.6, 0.35, 0.05]))
    seconds[150:] -= 40.0
    for threshold, release in ((0.6, 0.45), (0.6, 0.6), (0.5, 0.9), (0.3, 0.0)):
        found = find_events(seconds, scores, threshold, release, 3.0)
        assert [(e.first, e.last, e.peak, e.ended) for e in found] == plain(
            seconds, scores, threshold, release, 3.0
        )
        assert found or threshold > 0.5
        for event in found:
            assert event.score == scores[event.peak]
            places = [event.first, event.last, event.peak]
            assert [event.start, event.end, event.at] == seconds[places].tolist()


def test_one_event_lasts_over_a_dip_above_the_release_level():
    seconds, scores = np.arange(7.0), [0, 5, 3, 6, 3, 1, 0]
    (event,) = find_events(seconds, scores, 4, 2, math.inf)
    assert event == Event(1, 4, 3, 1.0, 4.0, 3.0, 6.0, "score")
    assert len(find_events(seconds, scores, 4, 4, math.inf)) == 2


def test_a_gap_ends_an_event_and_the_end_does():
    seconds = np.array([0, 1, 2, 60, 61])
    found = find_events(seconds, [9, 9, 9, 9, 9], 4, 2, 10)
    assert [(e.start, e.end, e.ended) for e in found] == [(0, 2, "gap"), (60, 61, "end")]
    assert len(find_events(seconds, [9, 9, 9, 9, 9], 4, 2, math.inf)) == 1


def test_a_score_at_the_threshold_is_normal():
    assert not find_events([0, 1], [4, 4], 4, 2, math.inf)
    assert find_events([], [], 4, 2, math.inf) == []
