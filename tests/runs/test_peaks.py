"""The frame that shows an event of a stream is one that was kept, or the page says so."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from vlad.images.video import Video
from vlad.report.timeline import write_timeline
from vlad.results.eventrules import EventRules
from vlad.results.eventtable import Found, Series
from vlad.results.folder import RunFolder
from vlad.runs.frames import Footage
from vlad.runs.peaks import read_peaks
from vlad.time import find_events

SMOOTHED = np.array([0, 3, 5, 4, 3, 0, 3, 3.0])  # two events, the first highest at frame 2
RAW = np.array([0, 1, 4, 2, 9, 0, 3, 3.0])
CAMERA = Footage(Video.of("rtsp://camera/line"))


@pytest.fixture
def shown(tmp_path):
    """Keeps some frames -> what the page has of each event, and its peaks."""

    def show(kept, track=()):
        paths = [str(tmp_path / f"{n}.png") for n in range(len(RAW))]
        for n in kept:
            Image.new("RGB", (1200, 900), (n, 0, 0)).save(paths[n])
        seconds = np.arange(len(RAW)) / 1.0
        scores = {"memory": RAW}, {"memory": SMOOTHED}
        series = Series("line", paths, seconds.astype(np.int64), seconds, *scores)
        events = find_events(seconds, SMOOTHED, 1, 1, 5)
        found = [Found(series, "memory", event, track) for event in events]
        peaks = read_peaks(found, {"line": CAMERA}, 10**7)
        run = RunFolder(tmp_path / "run", {"memory": (0.0, 1.0)}, {"root": "/"}).create(True)
        rules = EventRules({"memory": 1.0}, {"memory": 1.0})
        page = write_timeline(run, [series], rules, found, peaks, {}, "today").read_text("utf-8")
        return re.findall(r"<li><figure.*?</li>", page, re.DOTALL), peaks

    return show


def test_of_a_stream_the_kept_frame_with_the_highest_score_shows_an_event(shown):
    (first, second), peaks = shown([1, 3, 4])
    assert peaks[0].frame == 4 and peaks[0].size == (1200, 900)
    assert "<b>0:00:04.0</b>" in first and 'src="data:image/jpeg' in first
    # nothing of the second was kept
    assert list(peaks) == [0] and "No image: no frame of it was kept" in second
    assert "<img" not in second and "src=" not in second


def test_the_frame_that_shows_it_best_comes_first_if_it_was_kept(shown):
    (first, _), peaks = shown([2, 4], track=[(2, (10, 20, 30, 40), 0.5), (3, (1, 2, 3, 4), 0.4)])
    assert peaks[0].frame == 2 and '<rect x="10" y="20"' in first


def test_the_region_is_that_of_the_frame_that_is_shown(shown):
    track = [(2, (10, 20, 30, 40), 0.5), (3, (1, 2, 3, 4), 0.4)]
    (first, _), _ = shown([3], track)
    assert '<rect x="1" y="2" width="3" height="4"/>' in first
    (first, _), _ = shown([4], track)
    assert "<rect" not in first.partition("<figcaption")[0]
