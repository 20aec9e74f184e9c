"""A camera that speaks RTSP: its frames, its clock, and what goes wrong with it."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from clips import grey
from rtsp import CLOCK, RtspCamera
from streams import take

from vlad.images.video import Live, Sampling, Video, opening


@pytest.fixture
def said():
    return []


@pytest.fixture
def live(said):
    def of(camera):
        return Live(Video.of(camera.url), Sampling(), said.append, first=0.01)

    return of


def told(said) -> list[str]:
    """What was said but of dropped frames; no password is in it."""
    assert "hunter2" not in str(said)
    return [sentence for sentence in said if "dropped" not in sentence]


def test_its_frames_are_those_that_were_sent(live, said):
    images = [grey(20 + 10 * n, (160, 120)) for n in range(20)]
    images[0][40:80, 40:80] = np.random.default_rng(0).integers(0, 255, (40, 40, 3))  # FU-A
    with RtspCamera(images=images) as camera, live(camera) as source:
        frames = take(source, 25)
    assert camera.asked[:2] == ["OPTIONS", "DESCRIBE"] and camera.asked[-1] == "TEARDOWN"
    for frame in frames:
        shown = np.asarray(frame.image(10**6, "x"), float)
        assert np.abs(shown - images[frame.number % 20]).mean() < (
            20 if frame.number % 20 == 0 else 3
        )
    assert not told(said)


def test_a_camera_without_tcp_is_read_over_udp(live, said):
    with RtspCamera(udp=True) as camera, live(camera) as source:
        shown = np.asarray(take(source, 5)[-1].image(10**6, "x"))
    assert abs(shown.mean() - 100) < 3 and not told(said)


def test_a_stream_that_names_its_video_late_is_looked_at_longer(monkeypatch):
    opened, options = [], []

    def open_(address, **given):  # as MPEG-TS within RTP does
        options.append(given["options"])
        video = () if "probesize" in given["options"] else ("video",)
        opened.append(SimpleNamespace(streams=SimpleNamespace(video=video), close=opened.pop))
        return opened[-1]

    monkeypatch.setattr("av.open", open_)
    container = opening.opened(Video.of("rtsp://camera/line"))
    assert container.streams.video and opened == [container] and len(options) == 2


def test_the_first_image_comes_at_once(live, monkeypatch):
    monkeypatch.setattr("vlad.images.video.opening.PATIENCE", 600.0)
    with RtspCamera(-2) as camera, live(camera) as source:
        assert take(source, 1)[0].number == 0  # a longer look would wait for more of them
        camera.gone.set()


@pytest.mark.parametrize(
    "stamps",
    [
        lambda number: 2**32 - 10 * CLOCK // 50 + number * CLOCK // 50,
        lambda number: (number % 7) * CLOCK * 1000,
        lambda number: -number * CLOCK,
        lambda number: 5,
    ],
    ids=["wrap", "jumps", "backwards", "still"],
)
def test_the_clock_is_ours_whatever_that_of_the_camera_says(live, said, stamps):
    with RtspCamera(stamps=stamps) as camera, live(camera) as source:
        frames = take(source, 25)
    assert all(0 < b.time - a.time < 30e9 for a, b in pairwise(frames))
    assert all(0 < b.seconds - a.seconds < 30 for a, b in pairwise(frames))
    assert not told(said)


def test_a_size_that_changes_is_read_on(live, said):
    with (
        RtspCamera(images=[grey(50)] * 9 + [grey(200, (96, 64))] * 9) as camera,
        live(camera) as source,
    ):
        sizes = {frame.image(10**6, "x").size for frame in take(source, 40)}
    assert sizes == {(64, 48), (96, 64)} and not told(said)


def test_a_refusal_and_a_cut_are_said_once_and_tried_again(live, said):
    with RtspCamera(10, refusals=(404, 503)) as camera, live(camera) as source:
        while camera.connections < 2:
            source.latest(0.1)
        take(source, 2)
    assert "no frames (Server returned 404 Not Found)" in said[0]
    words = ["no frames (", "back after ", "no frames (", "back after "]
    assert all(word in one for word, one in zip(words, told(said), strict=True))


def test_a_wrong_password_is_said_without_it(live, said):
    with RtspCamera(refusals=(401,) * 9) as camera, live(camera) as source:
        while not said:
            source.latest(0.1)
    assert "no frames (Server returned 401 Unauthorized" in told(said)[0]


def test_a_silent_connection_is_a_gap_and_its_last_frame_does_not_come_late(
    live, said, monkeypatch
):
    monkeypatch.setattr("vlad.images.video.opening.PATIENCE", 1.0)
    images = [grey(50)] * 19 + [grey(200)]  # the last is held back, for its end is not known
    with RtspCamera(-20, images=images) as camera, live(camera) as source:
        frames = take(source, 5)
        while camera.connections < 2:
            frames.append(source.latest(0.1))
        frames += take(source, 3)
    shown = [np.asarray(frame.image(10**6, "x")).mean() for frame in frames if frame]
    assert max(shown) < 100
    assert "no frames (no data for " in told(said)[0] and "back after " in told(said)[1]


def test_a_stream_of_garbage_is_lost(live, said, monkeypatch):
    monkeypatch.setattr("vlad.images.video.opening.PATIENCE", 0.5)
    with RtspCamera(damaged=True) as camera, live(camera) as source:
        while camera.connections < 2:
            assert source.latest(0.1) is None
    assert "no frames (" in told(said)[0]
