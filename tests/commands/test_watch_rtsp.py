"""vlad watch on a camera that speaks RTSP: events, cuts, kills, and a password that is nowhere."""

from __future__ import annotations

import json
import signal
import sys

import numpy as np
import pytest
from clips import table
from PIL import Image
from receiver import Receiver
from rtsp import RtspCamera
from watching import rows, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 and SIGTERM are Unix's")
EVENTS = ["--begin-above", "0.02", "--smooth", "none", "--maps", "none", "--gap", "60"]


@pytest.fixture
def shown(images):
    """40 normal images, then 40 of another."""
    found = [Image.open(images / f"{n}.png").convert("RGB").resize((120, 90)) for n in (0, 4)]
    return [np.asarray(image) for image in found for _ in range(40)]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


def events(out) -> list[dict[str, str]]:
    return table(out / "events.csv") if (out / "events.csv").exists() else []


def stop(process) -> tuple[str, str]:
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def nowhere(word: str, out, *texts: str) -> None:
    files = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    for text in (*(text.encode() for text in texts), *files):
        assert word.encode() not in text


def test_events_are_told_once_over_cuts_and_a_kill(watcher, shown, out):
    with Receiver() as receiver, RtspCamera(70, 70, images=shown) as camera:
        words = [*EVENTS, "--webhook", receiver.url]
        first = watcher(*words, video=camera.url)
        until(lambda: camera.connections > 2 and len(events(out)) > 1, first)
        first.kill()
        texts = first.communicate()
        process = watcher(*words, video=camera.url)
        until(lambda: len([one for one in events(out) if one["ended"]]) > 2, process)
        receiver.until(lambda: len(set(receiver.ids)) > 5)
        texts += stop(process)
    found = events(out)
    posted = {one["id"]: one for one in (json.loads(body) for _, body in receiver.posts)}
    assert sorted((one["number"], one["event"]) for one in posted.values()) == sorted(
        [(int(one["event"]), "begin") for one in found]
        + [(int(one["event"]), "end") for one in found if one["ended"]]
    )
    assert {one["ended"] for one in found} <= {"score fell", ""}
    times = [row["time"] for row in rows(out)]
    assert times == sorted(set(times))
    assert {one["start_time"] for one in found} <= set(times)
    assert f"{camera.place}: no frames (the stream ended)" in texts[1]
    nowhere("hunter2", out, *texts, *map(str, receiver.posts))


def test_a_camera_that_is_away_is_a_gap_and_never_an_end(watcher, shown, out):
    with RtspCamera(images=shown[40:]) as camera:
        port = camera.server_address[1]
        process = watcher(*EVENTS[:-1], "0.5", video=camera.url)
        until(lambda: [one["ended"] for one in events(out)] == [""], process)
    until(lambda: [one["ended"] for one in events(out)] == ["gap in the frames"], process)
    before = len(rows(out))
    with RtspCamera(images=shown[40:], port=port, pause=0.002) as camera:
        until(lambda: len(events(out)) > 1 and len(rows(out)) > before + 3, process)
        said, errors = stop(process)
    assert " dropped so far, because scoring is slower." in errors
    assert "back after" in errors and said.count("began at") == len(events(out)) >= 2
    assert events(out)[1]["start_time"] == rows(out)[before]["time"]
