"""Which frames are due."""

import pytest
from clips import grey, write_clip

from vlad.images.video import Changes, Frame, Sampling, Video, read_frames


def frames(*seconds):
    return [Frame(None, number, at, 0) for number, at in enumerate(seconds)]


def numbers(found) -> list[int]:
    return [frame.number for frame in found]


def test_every_frame_or_every_third():
    ten = frames(*range(10))
    assert numbers(Sampling()(ten)) == list(range(10))
    assert numbers(Sampling(every=3)(ten)) == [0, 3, 6, 9]


def test_a_rate_follows_the_time_of_the_source():
    steady = frames(*(n / 30 for n in range(31)))
    assert numbers(Sampling(fps=10)(steady)) == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30]
    # a slow start, a gap, and a clock that starts again
    assert numbers(Sampling(fps=1)(frames(0, 0.4, 1.1, 1.2, 60, 60.5, 0, 0.5, 1))) == [
        0,
        2,
        4,
        6,
        8,
    ]
    # which frames are due does not depend on where one begins to look
    assert numbers(Sampling(fps=10)(steady[3:]))[:2] == [3, 6]


def test_only_changes(tmp_path):
    values = [50, 50, 52, 54, 56, 200, 200, 50]
    path = write_clip(tmp_path / "a.mkv", [grey(x) for x in values], codec="ffv1", pixels="yuv444p")
    found = list(read_frames(Video.of(str(path)), print))
    assert numbers(filter(Changes(None), found)) == list(range(8))
    # a slow drift adds up: 6 levels of 255 are more than 2 %
    assert numbers(filter(Changes(2), found)) == [0, 4, 5, 7]
    assert numbers(filter(Changes(40), found)) == [0, 5, 7]


def test_the_measure_is_the_mean_difference_of_brightness(tmp_path):
    changed = grey(0)
    changed[:12] = 255  # a quarter of the image
    path = write_clip(tmp_path / "a.mkv", [grey(0), changed], codec="ffv1", pixels="gray")
    first, second = read_frames(Video.of(str(path)), print)
    for percent, differs in ((24, True), (26, False)):
        changes = Changes(percent)
        assert changes(first) and changes(second) is differs
    assert first.small().shape == (64, 64)
    assert second.small().mean() == pytest.approx(255 / 4, abs=1)
