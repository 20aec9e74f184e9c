"""vlad video on a stream: read for a time or until it is stopped, then events and a report."""

from __future__ import annotations

import re
import signal
import sys
import threading
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from clips import table
from PIL import Image
from rtsp import RtspCamera
from watching import rows, until

from vlad.system import signals

EVENTS = ["--begin-above", "0.02", "--map-threshold", "0.02", "--smooth", "none"]


@pytest.fixture
def camera(images):
    """An RTSP camera that shows ten normal images, then ten of another, over and over."""
    found = [Image.open(images / f"{n}.png").convert("RGB").resize((120, 90)) for n in (0, 4)]
    return partial(RtspCamera, images=[np.asarray(image) for image in found for _ in range(10)])


def test_a_stream_is_read_for_a_time(video, camera, tmp_path):
    out = tmp_path / "run"
    with camera(30, pause=0.05) as source:  # a cut on the way
        done = video(source.url, *EVENTS, "--duration", "5")
        assert done.exit_code == 0, done.output
        found, scored = table(out / "events.csv"), rows(out)
        assert found and found[0]["frames"] and table(out / "tracks.csv")
        inside = [row["path"] for row in scored if row["memory_event"]]
        for row in scored:  # what shows an event cannot be read again later
            kept = row["path"] in inside
            assert (tmp_path / row["path"]).exists() == kept
        page = (out / "report.html").read_text()
        assert len(re.findall('<img[^>]*src="data:image', page)) == len(found)
        again = video(source.url, *EVENTS, "--duration", "3", "--resume")
        assert again.exit_code == 0, again.output
    assert len(rows(out)) > len(scored) and rows(out)[0]["path"] == scored[0]["path"]
    other = video("rtsp://127.0.0.1:1/other", *EVENTS, "--duration", "0.1", "--resume")
    assert other.exit_code == 2 and "/other brought no frame" in other.stderr, other.output
    texts = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    assert not [text for text in [done.output.encode(), *texts] if b"hunter2" in text]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is a Unix thing")
def test_ctrl_c_ends_a_stream_as_the_end_of_a_file_does(watcher, camera, tmp_path):
    out = tmp_path / "run"
    with camera() as source:
        process = watcher(*EVENTS, verb="video", video=source.url)
        until(lambda: len(rows(out)) > 3, process)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert f"{len(rows(out))} frames scored" in said and "Report: " in said
    assert (out / "events.csv").exists()


def test_ctrl_c_before_the_stream_is_read_ends_the_command(
    video, camera, clip, tmp_path, monkeypatch
):
    scored = []

    @contextmanager
    def noted(*asked):
        scored.append(len(rows(tmp_path / "run" / "calibration")))
        yield threading.Event()

    monkeypatch.setattr(signals, "interruptible", noted)
    normal = ("--normal-footage", clip, "--alarms-per-hour", "3600")
    with camera() as source:
        done = video(source.url, *normal, "--duration", "2")
    assert done.exit_code == 0, done.output
    assert scored == [80]  # all normal footage


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["rtsp://127.0.0.1:1/line", "CLIP"], "A stream or camera is scored alone"),
        (["rtsp://127.0.0.1:1/line", "--motion", "CLIP"], "A stream or camera is scored alone"),
        (["rtsp://127.0.0.1:1/line", "--clips"], "A stream or camera is scored alone"),
        (["rtsp://me:hunter2@127.0.0.1:1/line", "--duration", "0.1"], "/line brought no frame"),
        (["CLIP", "--duration", "1"], "--duration is for a stream or camera"),
        (["CLIP", "--normal-footage", "rtsp://camera/line"], "give a recording of it"),
    ],
)
def test_what_a_stream_cannot_do_is_one_sentence(video, clip, args, words):
    done = video(*[clip if word == "CLIP" else word for word in args])
    assert done.exit_code == 2, done.output
    assert words in done.stderr.splitlines()[-1] and "hunter2" not in done.output
