"""vlad watch finds events in time as they happen: as `vlad video` does, and over kills and cuts."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from clips import table, write_clip
from PIL import Image
from receiver import Receiver
from streams import Camera
from watching import rows, until

from vlad.cli import main

BEGIN = ["--begin-above", "0.01", "--smooth", "none"]
APPEND = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


@pytest.fixture
def clip(images, tmp_path):
    """Frames 4 to 9 and those from 15 on, of 20, show another image than the rest."""
    shown = [1 if 4 <= n < 10 or n >= 15 else 0 for n in range(20)]
    frames = [np.asarray(Image.open(images / f"{n}.png").convert("RGB")) for n in shown]
    path = tmp_path / "clip.mkv"
    return write_clip(
        path, frames, codec="ffv1", pixels="bgra", creation_time="2026-01-02T03:04:05Z"
    )


@pytest.fixture
def run(images, small_file, tmp_path):
    """Runs a command on a video -> click's result."""

    def call(verb, video, *more, out=tmp_path / "run"):
        options = ["--normal", images / "0.png", "--backbone", small_file, "--device", "cpu"]
        words = [verb, video, *options, "--out", out, *more]
        return CliRunner().invoke(main, list(map(str, words)))

    return call


def events(out) -> list[dict[str, str]]:
    try:
        with open(out / "events.csv", newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


def lines(file) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def as_told(told, found) -> None:
    """Each event was told when it began and, if it has ended, when it ended; each under one id."""
    once = {one["id"]: one for one in told}.values()
    ended = [one for one in found if one["ended"]]
    assert sorted((one["number"], one["event"]) for one in once) == sorted(
        [*((int(one["event"]), "begin") for one in found)]
        + [(int(one["event"]), "end") for one in ended]
    )
    by_number = {int(one["event"]): one for one in found}
    for one in once:
        row = by_number[one["number"]]
        assert one["start"] == row["start_time"] and one["head"] == row["head"]
        if one["event"] == "end":
            assert (one["end"], one["ended"]) == (row["end_time"], row["ended"])
            assert one["frames"] == int(row["frames"])
            assert one["peak"]["score"] == pytest.approx(float(row["score"]), rel=1e-12)
            assert one["peak"]["path"] == row["peak_frame"]


@pytest.mark.parametrize("smooth", ["none", "ewma=0.02"])
def test_events_are_those_of_the_finished_video(run, clip, tmp_path, smooth):
    words = ["--begin-above", "0.01", "--smooth", smooth]
    told = tmp_path / "told"
    command = shlex.join([sys.executable, "-c", APPEND, str(told)])
    done = run("watch", clip, *words, "--on-anomaly", command)
    assert done.exit_code == 0, done.output
    assert run("video", clip, *words, out=tmp_path / "whole").exit_code == 0
    found, expected = events(tmp_path / "run"), events(tmp_path / "whole")
    shared = [name for name in found[0] if name in expected[0]]
    assert len(shared) == 15 and len(found) == 2
    assert [{n: e[n] for n in shared} for e in found] == [
        {n: e[n] for n in shared} for e in expected
    ]
    ours, theirs = rows(tmp_path / "run"), rows(tmp_path / "whole")
    for name in ("memory", "memory_smoothed", "memory_event"):
        assert [row[name] for row in ours] == [row[name] for row in theirs]
    as_told(lines(told), found)
    assert "Event 1 (memory) began at 2026-01-02T03:04:05.400000Z, score" in done.stdout
    assert done.stdout.count(" ended at ") == 2
    # the frames of events are kept
    for row in ours:
        assert os.path.exists(row["path"]) == bool(row["memory_event"])
    assert os.path.exists(found[0]["peak_frame"])


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a Unix thing")
@pytest.mark.parametrize("torn", ["nothing", "told", "states"])
def test_a_kill_within_an_event_neither_loses_nor_doubles_it(run, watcher, clip, tmp_path, torn):
    out, words = tmp_path / "run", [*BEGIN, "--batch-size", "1"]
    with Receiver(*[500] * 100) as receiver:
        told = ["--webhook", receiver.url]
        first = watcher(*words, *told, video=clip)
        until(lambda: [one["ended"] for one in events(out)] == [""], first)
        first.kill()
        first.communicate()
        assert len(events(out)) == 1 and len(rows(out)) < 20
        if torn == "told":  # killed between the row of a frame and what is told of it
            for _ in rows(out)[5:]:
                cut(out / "scores.csv"), cut(out / "files.csv")
            (out / "events" / "webhook.jsonl").write_text("")
            (out / "events.csv").unlink()
        if torn == "states":  # killed between the two files that a row is in
            cut(out / "files.csv")
        receiver.answers.clear()
        done = run("watch", clip, *words, *told)
        assert done.exit_code == 0, done.output
    assert run("watch", clip, *words, out=tmp_path / "whole").exit_code == 0
    found = events(out)
    ours = [{**one, "peak_frame": Path(one["peak_frame"]).name} for one in found]
    assert ours == [
        {**one, "peak_frame": Path(one["peak_frame"]).name} for one in events(tmp_path / "whole")
    ]
    assert [one["frames"] for one in found] == ["6", "5"]
    assert [(row["time"], row["memory_event"]) for row in rows(out)] == [
        (row["time"], row["memory_event"]) for row in rows(tmp_path / "whole")
    ]
    as_told(lines(out / "events" / "webhook.jsonl"), found)
    assert len(lines(out / "events" / "webhook.jsonl")) == 4
    assert {json.loads(body)["id"] for _, body in receiver.posts} == {
        one["id"] for one in lines(out / "events" / "webhook.jsonl")
    }
    # the same command once more changes nothing
    assert run("watch", clip, *words, *told).exit_code == 0
    assert events(out) == found and len(lines(out / "events" / "webhook.jsonl")) == 4


def cut(file) -> None:
    """Take the last line off."""
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def test_a_cut_of_a_stream_ends_an_event_and_a_stop_leaves_it_open(watcher, tmp_path):
    out, told = tmp_path / "run", tmp_path / "told"
    command = shlex.join([sys.executable, "-c", APPEND, str(told)])
    words = ["--begin-above", "0.0001", "--smooth", "ewma=0.1", "--gap", "0.4"]
    with Camera(*[200] * 100) as camera:
        process = watcher(*words, "--on-anomaly", command, video=camera.url)
        until(lambda: len(events(out)) > 1, process)
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    found = events(out)
    assert {one["ended"] for one in found[:-1]} == {"gap in the frames"}
    assert said.count(" began at ") == len(found)
    as_told(lines(told), found)
    times = [row["time"] for row in rows(out)]
    assert found[0]["start_time"] == times[0] and found[0]["end_time"] in times
    if not found[-1]["ended"]:
        assert f"Event {len(found)} (memory) goes on; the next start" in errors


def test_thresholds_of_normal_footage_hold_for_the_same_settings(run, clip, images, tmp_path):
    quiet = [np.asarray(Image.open(images / "0.png").convert("RGB"))] * 40
    normal = write_clip(tmp_path / "normal.mkv", quiet, codec="ffv1", pixels="bgra")
    options = ["--normal-footage", normal, "--alarms-per-hour", "3600"]
    for smooth, out in (("gaussian=1", "g"), ("ewma=1", "e")):
        done = run("video", clip, *options, "--smooth", smooth, out=tmp_path / out)
        assert done.exit_code == 0, done.output
    done = run("watch", clip, "--thresholds", tmp_path / "g" / "thresholds.json")
    assert done.exit_code == 2 and "frames that have not come yet (gaussian=1)" in done.stderr
    file = tmp_path / "e" / "thresholds.json"
    done = run("watch", clip, "--thresholds", file, "--every", "2")
    assert done.exit_code == 2 and "found with other every (1 there, 2 here)" in done.stderr
    done = run("watch", clip, "--thresholds", file)
    assert done.exit_code == 0, done.output
    assert "false alarms per hour are expected" in done.stdout
    found, expected = events(tmp_path / "run"), events(tmp_path / "e")
    # the first region of equal ones may differ in its track, never the event
    assert found and [one["start_time"] for one in found] == [x["start_time"] for x in expected]
    assert [(x["x"], x["y"], x["width"]) for x in found] == [
        (x["x"], x["y"], x["width"]) for x in expected
    ]
    tracks = [table(tmp_path / x / "tracks.csv") for x in ("run", "e")]
    assert tracks[0] and tracks[0] == tracks[1]


@pytest.mark.parametrize(
    ("source", "args", "words"),
    [
        ("CLIP", ["--smooth", "ewma=1"], "add --begin-above or --thresholds"),
        ("CLIP", ["--gap", "2"], "add --begin-above or --thresholds"),
        ("CLIP", ["--end-below", "1"], "--end-below is for --begin-above"),
        ("CLIP", ["--begin-above", "1", "--smooth", "gaussian=2"], "not come yet (gaussian=2)"),
        ("CLIP", ["--begin-above", "1", "--end-below", "2"], "is above --begin-above"),
        ("FOLDER", ["--begin-above", "1"], "is a folder, but events in time are found in a video"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(run, clip, images, source, args, words):
    done = run("watch", clip if source == "CLIP" else images, *args)
    assert done.exit_code == 2
    assert words in done.stderr and done.stderr.count("\n") == 1
