"""A live source: the latest frame, what is dropped, and a camera that goes away."""

from itertools import pairwise
from types import SimpleNamespace

from clips import grey, write_clip, write_sound
from streams import Camera, take

from vlad.images.video import Live, Sampling, Video


def live(camera, said, sampling=None):
    return Live(Video.of(camera.url), sampling or Sampling(), said.append, first=0.01)


def test_only_the_latest_frame_is_kept_and_the_others_counted():
    said = []
    with Camera() as camera, live(camera, said) as source:
        first = take(source, 1)[0]
        before = camera.sent
        while camera.sent < before + 20:  # as if scoring took long
            camera.gone.wait(0.01)
        frames = [first, *take(source, 3)]
    numbers = [frame.number for frame in frames]
    assert numbers == sorted(set(numbers)) and numbers[1] > 5
    assert source.dropped >= numbers[-1] + 1 - len(frames) > 5
    assert [frame.seconds for frame in frames] == sorted(frame.seconds for frame in frames)
    assert said == [
        f"127.0.0.1:{camera.server_port}/line: {source.dropped} frames dropped so far, because "
        "scoring is slower."
    ]


def test_frames_that_are_not_due_are_not_dropped():
    said = []
    with Camera() as camera, live(camera, said, Sampling(every=10**6)) as source:
        assert take(source, 1)[0].number == 0
        while camera.sent < 20:
            camera.gone.wait(0.01)
    assert source.dropped == 0 and said == []


def test_a_source_that_is_cut_comes_back_and_is_told_once_for_each_loss():
    said = []
    with Camera(3, 4) as camera, live(camera, said) as source:
        while camera.connections < 3:
            source.latest(0.1)
        frames = take(source, 2)
    told = [sentence for sentence in said if "dropped" not in sentence]
    assert [("no frames" in x, "back after" in x) for x in told] == [
        (True, False),
        (False, True),
    ] * 2
    assert all(x.startswith(f"127.0.0.1:{camera.server_port}/line: ") for x in told)
    assert "hunter2" not in str(said)
    assert frames[0].number >= 6  # numbers go on, and so does time
    assert frames[1].time > frames[0].time > 1.7e18


def test_a_source_that_is_away_at_first_is_waited_for():
    said = []
    with Camera() as camera:
        port = camera.server_port
    source = live(camera, said)
    with source:
        while not said:
            assert source.latest(0.01) is None
        assert "Connection refused" in said[0] and "trying until it is back" in said[0]
        with Camera(port=port):
            take(source, 1)
    assert "back after" in said[1] and "hunter2" not in str(said)


def test_a_source_that_falls_silent_is_lost(monkeypatch):
    monkeypatch.setattr("vlad.images.video.opening.PATIENCE", 0.5)
    said = []
    with Camera(-30) as camera, live(camera, said) as source:
        while len([x for x in said if "dropped" not in x]) < 2:
            source.latest(0.1)
    assert "no frames (" in said[0] and "back after" in said[1]


def test_a_source_of_damage_alone_is_lost(monkeypatch):
    monkeypatch.setattr("vlad.images.video.opening.PATIENCE", 0.5)
    said = []
    with Camera(damaged=True) as camera, live(camera, said) as source:
        while not said:
            assert source.latest(0.1) is None
    assert "no frames (nothing can be decoded)" in said[0]
    assert "damaged parts left out so far" in said[-1]


def test_pauses_grow_to_a_minute():
    said, waits = [], []
    source = Live(Video.of("http://127.0.0.1:9/"), Sampling(), said.append)

    def wait(holds, seconds=None):
        waits.append(seconds)
        source._closed = len(waits) == 9

    source._changed.wait_for = wait
    assert list(source._frames()) == []
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60] and len(said) == 1


def test_sound_alone_is_a_reason(tmp_path):
    said = []
    video = Video(str(write_sound(tmp_path / "sound.wav")), "camera", live=True, device="wav")
    with Live(video, Sampling(), said.append, first=0.01) as source:
        while not said:
            assert source.latest(0.01) is None
    assert said == ["camera: no frames (no video stream); trying until it is back."]


def test_a_camera_that_is_away_for_an_hour_leaves_a_gap(monkeypatch):
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], time_ns=lambda: round(now[0] * 1e9))
    monkeypatch.setattr("vlad.images.video.live.time", clock)
    said, tries = [], []
    source = Live(Video.of("http://127.0.0.1:9/"), Sampling(), said.append)

    def connection():
        tries.append(now[0])
        if len(tries) > 1 and now[0] < 3600:
            raise OSError(0, "nobody there")
        for _ in range(3):
            now[0] += 0.5
            yield object()

    def wait(holds, seconds=None):
        now[0] += seconds
        source._closed = now[0] > 3700

    source._connection, source._changed.wait_for = connection, wait
    frames = list(source._frames())
    steps = [b.time - a.time for a, b in pairwise(frames)]
    gap = max(steps)
    assert steps[:3] == [500_000_000, 500_000_000, gap] and 3600e9 < gap < 3665e9
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert said[:2] == [
        "127.0.0.1:9/: no frames (the stream ended); trying until it is back.",
        f"127.0.0.1:9/: back after {gap / 1e9:.0f} s.",
    ]


def test_a_stream_that_changes_its_size_is_read_on():
    said = []
    with Camera(sizes=[(64, 48), (96, 64)]) as camera, live(camera, said) as source:
        sizes = []
        while {(64, 48), (96, 64)} - set(sizes):
            (frame,) = take(source, 1)
            sizes.append(frame.image(10**6, "x").size)
    assert not [sentence for sentence in said if "no frames" in sentence]


def test_an_encrypted_source_is_lost_and_waited_for(tmp_path):
    keys = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "01" * 16}
    options = {**keys, "encryption_kid": "02" * 16}
    frames = [grey(value) for value in range(0, 240, 8)]
    path = write_clip(tmp_path / "a.mp4", frames, options=options)
    said = []
    video = Video(str(path), "camera", live=True, device="mp4")
    with Live(video, Sampling(), said.append, first=0.01) as source:
        while not said:
            assert source.latest(0.01) is None
    assert said[0].startswith("camera: no frames (")
