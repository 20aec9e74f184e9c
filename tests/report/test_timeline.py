"""The page of a run over video: lines at gaps, and a bounded size whatever the footage."""

import re

import numpy as np
import pytest

from vlad.report.timeline import CHARTS, STRIP, clock, lines, strongest, write_timeline
from vlad.results.eventrules import EventRules
from vlad.results.eventtable import Found, Series
from vlad.results.folder import RunFolder
from vlad.results.rows import Row
from vlad.time import find_events


def series_of(name, values, seconds=None):
    seconds = np.arange(len(values)) / 5 if seconds is None else seconds
    paths = [f"{name}/{n}" for n in range(len(values))]
    scores = {"memory": np.asarray(values, float)}
    return Series(name, paths, (seconds * 1e9).astype(np.int64), seconds, scores, scores)


@pytest.fixture
def page(tmp_path):
    """Writes the page of some series, an event above 0.5 -> its text."""

    def write(*series, gap=1.0, errors=0):
        run = RunFolder(tmp_path / "run", {"memory": (0.0, 1.0)}, {"root": "/"}).create(
            overwrite=True
        )
        run.append([Row(f"bad/{n}", error=f"frame {n} is damaged") for n in range(errors)])
        rules = EventRules({"memory": 0.5}, {"memory": 0.5}, gap=gap, note="Said of thresholds.")
        found = [
            Found(one, "memory", event, [])
            for one in series
            for event in find_events(one.seconds, one.smoothed["memory"], 0.5, 0.5, gap)
        ]
        return write_timeline(run, series, rules, found, {}, {}, "today").read_text("utf-8")

    return write


def test_of_many_frames_in_one_place_the_highest_shows():
    values = np.zeros(100_000)
    values[70_000] = 0.75
    (line,) = lines(np.arange(100_000) / 5, values, 1.0)
    assert len(line) == 1000 and [place for place, value in line if value] == [700]
    assert dict(line)[700] == 0.75


def test_a_line_ends_at_a_gap():
    seconds = np.array([0, 1, 2, 8, 9, 10.0])
    first, second = lines(seconds, np.arange(6.0), 2.0)
    assert first == [(0, 0), (100, 1), (200, 2)] and second == [(800, 3), (900, 4), (999, 5)]
    assert len(lines(seconds, np.arange(6.0), 10.0)) == 1


def test_a_frame_between_two_gaps_is_a_dot():
    assert lines(np.array([0, 1, 5, 9, 10.0]), np.ones(5), 2.0)[1] == [(500, 1), (500, 1)]
    assert lines(np.array([0.0]), np.ones(1), 2.0) == [[(0, 1), (0, 1)]]
    assert lines(np.empty(0), np.empty(0), 2.0) == []


def test_the_page_does_not_grow_with_frames_gaps_and_events(page):
    def sized(count):
        # every second frame is an event of its own, every tenth step a gap
        seconds = np.arange(count) / 5 + 2.0 * (np.arange(count) // 10)
        return len(page(series_of("clip", np.arange(count) % 2, seconds), errors=count // 8))

    assert sized(60_000) < 1.1 * sized(20_000)


def test_many_videos_have_the_timelines_with_events(page):
    text = page(*(series_of(f"clip{n}", [0, n == 150, 0]) for n in range(200)))
    assert text.count('class="timeline"') == CHARTS
    assert "clip150: Memory" in text or "clip150: memory" in text
    assert f"{CHARTS} of 200 timelines, those with events first" in text


def test_frames_that_failed_are_all_counted(page):
    text = page(series_of("clip", [0, 1]), errors=2500)
    assert "<dt>Frames failed</dt><dd>2,500</dd>" in text
    assert text.count("is damaged") == 2000 and "The first 2,000 of 2,500" in text


def test_without_clips_the_table_has_no_column_of_them(page):
    assert '<th scope="col">Clip</th>' not in page(series_of("clip", [0, 1]))


def test_what_thresholds_rest_on_is_said(page):
    assert "Said of thresholds." in page(series_of("clip", [0, 1]))


def test_the_strip_has_the_highest_events_in_order():
    one = series_of("clip", np.arange(400) % 2 * np.arange(400))
    events = find_events(one.seconds, one.smoothed["memory"], 0.5, 0.5, 1.0)
    found = [Found(one, "memory", event, []) for event in events]
    assert len(found) == 200 and strongest(found) == list(range(200 - STRIP, 200))


@pytest.mark.parametrize(
    ("seconds", "step", "text"),
    [
        (0, 0.1, "0:00:00.0"),
        (59.96, 0.1, "0:01:00.0"),
        (59.96, 1, "0:01:00"),
        (7325, 60, "2:02:05"),
    ],
)
def test_positions_are_clock_times(seconds, step, text):
    assert clock(seconds, step) == text


def test_a_tick_is_a_round_time(page):
    ticks = re.findall(r'<text x="[^"]*" y="14"[^>]*>([^<]*)', page(series_of("c", np.zeros(301))))
    assert ticks == [f"0:{n // 6:02}:{n % 6}0" for n in range(7)]


def test_time_stamps_behind_the_first_frame_are_not_shown_at_the_end():
    seconds, values = np.array([0.0, 1.0, 2.0, -0.1]), np.array([1.0, 2.0, 3.0, 9.0])
    drawn = [point for line in lines(seconds, values, 10.0) for point in line]
    assert dict(drawn) == {0: 9.0, 500: 2.0, 999: 3.0}
