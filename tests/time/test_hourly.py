"""False alarms per hour: promised from normal footage, and found in more of it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from vlad.errors import InputError
from vlad.time import find_events, from_footage

FPS = 1


def footage(hours, generator, persistence=0.9, swings=0.0):
    """Normal scores as an AR(1) process, in which neighbouring frames are alike; `swings` makes
    some minutes louder than others."""
    count = int(hours * 3600 * FPS)
    noise = generator.standard_normal(count + 200) * math.sqrt(1 - persistence**2)
    scores = lfilter([1], [1, -persistence], noise)[200:]
    if swings:
        loud = generator.standard_normal(count // 600 + 1).repeat(600)[:count]
        scores *= np.exp(swings * loud)
    return np.arange(count) / FPS, scores


def found_rate(hourly, seconds, scores):
    events = find_events(seconds, scores, hourly.threshold, hourly.release, math.inf)
    return len(events) * 3600 * FPS / len(seconds)


@pytest.mark.parametrize(
    ("persistence", "swings", "hours", "rate"),
    [(0.0, 0.0, 2, 1.0), (0.9, 0.0, 1, 1.0), (0.97, 0.0, 3, 2.0), (0.9, 0.3, 4, 2.0)],
)
def test_the_rate_promised_is_found(persistence, swings, hours, rate):
    generator = np.random.default_rng(5)
    later = footage(150, generator, persistence, swings)
    rates, inside = [], []
    for seed in range(40):
        normal = footage(hours, generator, persistence, swings)
        hourly = from_footage([normal], rate, math.inf, seed)
        rates.append(found_rate(hourly, *later))
        inside.append(hourly.rates[0] <= rates[-1] <= hourly.rates[1])
    error = np.std(rates) / math.sqrt(len(rates))
    assert np.mean(rates) <= rate + 2 * error
    assert np.mean(rates) >= 0.7 * rate - 2 * error  # no higher threshold than needed
    assert np.mean(inside) >= 0.85


def test_the_threshold_is_a_peak_of_the_footage():
    seconds = np.arange(7200.0)
    scores = np.zeros(7200)
    scores[[100, 1000, 1001, 3000, 5000, 6000]] = [3, 8, 9, 5, 7, 4]
    # frames 1000 and 1001 are one event, so the highest peaks are 9, 7, 5, 4, 3
    for rate, threshold in ((0.5, 9), (1, 7), (1.4, 7), (1.5, 5), (2.5, 3)):
        hourly = from_footage([(seconds, scores)], rate, math.inf)
        assert hourly.threshold == threshold
        assert hourly.alarms == len(find_events(seconds, scores, threshold, 0, math.inf))
        assert hourly.hours == 2.0 and hourly.peaks == 5 and hourly.release == 0
    # fewer peaks than alarms allowed: whatever is above the usual scores may alarm
    assert from_footage([(seconds, scores)], 9, math.inf).threshold == 0
    # the same peaks in two sources are the same footage
    halves = [(seconds[:3600], scores[:3600]), (seconds[3600:], scores[3600:])]
    assert from_footage(halves, 1, math.inf) == from_footage([(seconds, scores)], 1, math.inf)


def test_a_gap_is_no_footage():
    seconds = np.concatenate([np.arange(1800.0), 90000 + np.arange(1800.0)])
    hourly = from_footage([(seconds, np.arange(3600) % 7.0)], 1, 10)
    assert hourly.hours == 1.0
    with pytest.raises(InputError, match="need at least 2 h of normal footage, got 60 min; give"):
        from_footage([(seconds, np.zeros(3600))], 0.5, 10)


@pytest.mark.parametrize(
    ("rate", "count", "said"),
    [
        (0.1, 7200, "0.1 false alarms per hour need at least 10 h of normal footage, got 2 h;"),
        (2, 60, "2 false alarms per hour need at least 30 min of normal footage, got 60 s;"),
        (1, 0, "1 false alarms per hour need at least 60 min of normal footage, got 0 s;"),
        # what is asked for is rounded up, and what there is down
        (7, 514, "7 false alarms per hour need at least 8.58 min of normal footage, got 8.56 min;"),
        (1, 3599, "1 false alarms per hour need at least 60 min of normal footage, got 59.9 min;"),
        (5e-4, 60, "0.0005 false alarms per hour need at least 2000 h of normal footage,"),
        (0, 60, "0 false alarms per hour are no rate; give a positive number."),
        (math.nan, 60, "nan false alarms per hour are no rate; give a positive number."),
    ],
)
def test_too_little_footage_and_no_rate(rate, count, said):
    with pytest.raises(InputError, match=f"^{said}"):
        from_footage([(np.arange(float(count)), np.zeros(count))], rate, math.inf)


def test_bursts_widen_the_interval():
    generator = np.random.default_rng(0)
    count = 4 * 3600
    alone, bursts = np.zeros(count), np.zeros(count)
    places = generator.permutation(count // 20)[:60] * 20
    alone[places] = generator.random(60) + 1
    for start, level in zip(places[:6], generator.random(6), strict=True):
        bursts[(start + np.arange(10) * 3) % count] = level + 1 + generator.random(10) / 100
    seconds = np.arange(float(count))
    rates = [from_footage([(seconds, x)], 5, math.inf).rates for x in (alone, bursts)]
    assert rates[1][1] - rates[1][0] > 1.5 * (rates[0][1] - rates[0][0])


def test_the_sentence_says_what_it_rests_on():
    generator = np.random.default_rng(0)
    hourly = from_footage([footage(3, generator)], 1, math.inf)
    assert hourly.sentence.startswith("At most 1 false alarms per hour are expected (95 % ")
    assert "from 3 h of normal footage with 2 events above" in hourly.sentence
    many = replace(hourly, rates=(0.1234, 152.4), hours=123.4)
    assert "(95 % interval 0.12 to 150), from 120 h of" in many.sentence
