"""vlad watch on video files and streams: rows, kept frames, restarts, and no password anywhere."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import sys

import numpy as np
import pytest
from broker import Broker
from click.testing import CliRunner
from clips import grey, write_clip, write_sound
from PIL import Image
from receiver import Receiver
from streams import Camera
from watching import rows, until

from vlad.cli import main


@pytest.fixture
def clip(images, tmp_path):
    """A lossless clip of 24 frames: the six images, over and over."""
    frames = [np.asarray(Image.open(images / f"{i % 6}.png").convert("RGB")) for i in range(24)]
    path = tmp_path / "clip.mkv"
    return write_clip(
        path, frames, codec="ffv1", pixels="bgra", creation_time="2026-01-02T03:04:05Z"
    )


@pytest.fixture
def watch(images, small_file, tmp_path):
    """Runs `vlad watch` to the end of a video -> click's result."""

    def run(video, *more, out=tmp_path / "run"):
        options = ["--normal", images / "0.png", "--backbone", small_file, "--device", "cpu"]
        words = ["watch", video, *options, "--out", out, *more]
        return CliRunner().invoke(main, list(map(str, words)))

    return run


def names(found) -> list[str]:
    return [os.path.basename(row["path"]) for row in found]


def test_a_video_file_is_scored_to_its_end(watch, clip, tmp_path):
    out = tmp_path / "run"
    done = watch(clip, "--every", 3, "--threshold", "0.01")
    assert done.exit_code == 0, done.output
    assert "Finished: 8 images scored, 0 failed" in done.stdout
    found = rows(out)
    assert names(found) == [f"{n:06}.png" for n in range(0, 24, 3)]
    assert [row["time"] for row in found][:2] == [
        "2026-01-02T03:04:05.000000Z", "2026-01-02T03:04:05.300000Z",
    ]  # fmt: skip
    # frames 0, 6, 12 are the normal image; the others are kept, without loss
    verdicts = [row["memory_verdict"] for row in found]
    assert verdicts == ["normal", "anomalous"] * 4
    for row in found:
        assert os.path.exists(row["path"]) == (row["memory_verdict"] == "anomalous")
        name = os.path.basename(row["path"])
        assert (out / "maps" / "memory" / "clip.mkv" / name).is_file()
    again = watch(clip, "--every", 3, "--threshold", "0.01")
    assert "continuing after frame 21" in again.stderr and "000021.png: memory" not in again.stdout
    assert rows(out) == found


def test_other_frames_are_refused_at_the_next_start(watch, clip, tmp_path):
    assert watch(clip, "--fps", 2).exit_code == 0
    found = rows(tmp_path / "run")
    done = watch(clip, "--fps", 5)
    assert done.exit_code != 0 and "(sampling.fps: 2.0 there, 5.0 now)" in done.stderr
    assert rows(tmp_path / "run") == found


def test_kept_frames_score_as_they_did(watch, clip, vlad, images, tmp_path):
    assert watch(clip, "--keep", "all").exit_code == 0
    kept = tmp_path / "run" / "frames"
    done = vlad(kept, "--normal", images / "0.png", "--out", tmp_path / "again")
    assert done.exit_code == 0, done.output
    scores = [{row["path"]: row["memory"] for row in rows(tmp_path / x)} for x in ("run", "again")]
    assert len(scores[0]) == 24 and scores[0] == scores[1]
    assert (tmp_path / "again" / "report.html").is_file()
    assert watch(clip, "--keep", "none", out=tmp_path / "none").exit_code == 0
    assert len(rows(tmp_path / "none")) == 24 and not (tmp_path / "none" / "frames").exists()


def test_only_changes_are_scored(watch, tmp_path):
    values = [50, 50, 90, 90, 50, 50, 50]
    path = write_clip(tmp_path / "a.mkv", [grey(x) for x in values], codec="ffv1", pixels="gray")
    assert watch(path, "--changes", 5).exit_code == 0
    found = rows(tmp_path / "run")
    assert names(found) == ["000000.png", "000002.png", "000004.png"]
    assert watch(path, "--changes", 5).exit_code == 0  # what follows the last row is no change
    assert rows(tmp_path / "run") == found


def test_a_frame_that_cannot_be_scored_is_a_row(watch, tmp_path):
    path = write_clip(tmp_path / "large.mkv", [grey(50, (300, 200))] * 2)
    done = watch(path, "--max-pixels", 50_000)
    assert "Finished: 0 images scored, 2 failed" in done.stdout, done.output
    assert "over the limit of 50,000" in rows(tmp_path / "run")[0]["error"]


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a Unix thing")
def test_a_killed_run_goes_on_and_tells_of_every_anomalous_frame(watcher, watch, clip, tmp_path):
    told, out = tmp_path / "told", tmp_path / "run"
    append = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
    command = shlex.join([sys.executable, "-c", append, str(told)])
    options = ["--threshold", "0.01", "--batch-size", "1", "--on-anomaly", command]
    first = watcher(*options, video=clip)
    until(lambda: len(rows(out)) > 3, first)
    first.kill()
    first.communicate()
    # as if it had been killed between an event and its row
    for name in ("scores.csv", "files.csv"):
        lines = (out / name).read_text().splitlines(keepends=True)
        (out / name).write_text("".join(lines[:-1]))
    done = watch(clip, *options)
    assert done.exit_code == 0, done.output
    assert "continuing after frame" in done.stderr
    assert watch(clip, "--threshold", "0.01", out=tmp_path / "whole").exit_code == 0
    numbers = [f"{n:06}.png" for n in range(24)]
    assert names(rows(out)) == names(rows(tmp_path / "whole")) == numbers
    scores = [[row["memory"] for row in rows(x)] for x in (out, tmp_path / "whole")]
    assert scores[0] == scores[1]
    anomalous = {row["path"] for row in rows(out) if row["memory_verdict"] == "anomalous"}
    events = [
        json.loads(line) for line in (out / "events" / "command.jsonl").read_text().splitlines()
    ]
    # each once: an event has the same id when its frame is scored again
    assert [event["path"] for event in events] == sorted(anomalous)
    assert {json.loads(line)["id"] for line in told.read_text().splitlines()} == {
        event["id"] for event in events
    }


def test_anomalous_frames_are_published(watch, clip, tmp_path):
    login = tmp_path / "login"
    login.write_text("me:hunter2\n")
    with Broker() as broker:
        url = f"mqtt://127.0.0.1:{broker.port}/line/1"
        done = watch(
            clip, "--every", 3, "--threshold", "0.01", "--mqtt", url, "--mqtt-login", login
        )
    assert done.exit_code == 0, done.output
    assert "The login goes to the broker unencrypted" in done.stderr
    assert b"hunter2" in broker.logins[0] and "hunter2" not in done.output
    assert {topic for topic, _ in broker.got} == {"line/1"}
    bad = [row["path"] for row in rows(tmp_path / "run") if row["memory_verdict"] == "anomalous"]
    assert [json.loads(body)["path"] for _, body in broker.got] == bad and len(bad) == 4


def test_all_its_own_options_at_once(watch, clip, tmp_path):
    secret, login, told = tmp_path / "secret", tmp_path / "login", tmp_path / "told"
    secret.write_text("key")
    login.write_text("me:hunter2")
    append = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
    with Receiver() as receiver, Broker() as broker:
        given = {
            "--out": tmp_path / "run", "--every": 2, "--fps": 2, "--changes": 0.1, "--keep": "all",
            "--webhook": receiver.url, "--webhook-secret": secret, "--mqtt-login": login,
            "--mqtt": f"mqtt://127.0.0.1:{broker.port}/line",
            "--on-anomaly": shlex.join([sys.executable, "-c", append, str(told)]),
        }  # fmt: skip
        options, shared = (
            {option.opts[0] for option in main.commands[verb].params} for verb in ("watch", "score")
        )
        in_time = {"--begin-above", "--end-below", "--gap", "--smooth", "--thresholds"}
        # those of folders, those of test_watch_in_time, and all others must be given here
        assert options - shared - given.keys() == {"source", "--interval"} | in_time
        more = [word for option, value in given.items() for word in (option, value)]
        done = watch(clip, "--threshold", "0.01", *more)
    assert done.exit_code == 0, done.output
    found = rows(tmp_path / "run")
    # of the even ones two a second: 0, 6, 10, 16, 20; of these, 6 and 16 look like the one before
    assert names(found) == ["000000.png", "000010.png", "000020.png"]
    bad = [row["path"] for row in found if row["memory_verdict"] == "anomalous"]
    assert bad and all("X-Vlad-Signature" in headers for headers, _ in receiver.posts)
    for bodies in (
        [body for _, body in receiver.posts],
        [body for _, body in broker.got],
        told.read_text().splitlines(),
    ):
        assert [json.loads(body)["path"] for body in bodies] == bad


def test_a_stream_is_watched_over_a_cut_and_its_password_is_nowhere(watcher, tmp_path):
    out = tmp_path / "run"
    with Camera(5) as camera:
        process = watcher("--threshold", "0.01", "--keep", "all", video=camera.url)
        until(lambda: camera.connections > 1 and len(rows(out)) > 4, process)
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    found = rows(out)
    place = f"127.0.0.1:{camera.server_port}/line"
    assert f"Watching {place}; scores" in said and f"Stopped: {len(found)} images scored" in said
    assert f"{place}: no frames (" in errors and f"{place}: back after" in errors
    for row in found:
        at = row["time"].replace(":", "-")
        assert (
            row["path"]
            == str(out / "frames" / place.replace(":", "_").replace("/", "_") / at) + ".png"
        )
        assert os.path.exists(row["path"])
    for text in (
        said,
        errors,
        *(p.read_bytes().decode("latin-1") for p in out.rglob("*") if p.is_file()),
    ):
        assert "hunter2" not in text


@pytest.mark.parametrize(
    ("source", "args", "words"),
    [
        ("FOLDER", ["--every", "2"], "--every is for a video"),
        ("FOLDER", ["--keep", "all"], "--keep is for a video"),
        ("CLIP", ["--interval", "1"], "--interval is for a folder"),
        ("SOUND", [], "has no video stream"),
        ("TEXT", [], "cannot be read as video"),
        ("IMAGE", [], "is no folder, video file, stream or camera"),
        ("rtsp://me:hunter2@:1/", [], "is not a stream with a host"),
    ],
)
def test_what_cannot_be_watched_is_one_sentence(watch, clip, images, tmp_path, source, args, words):
    (tmp_path / "text.mp4").write_text("no video")
    paths = {
        "FOLDER": images,
        "CLIP": clip,
        "SOUND": write_sound(tmp_path / "sound.wav"),
        "TEXT": tmp_path / "text.mp4",
        "IMAGE": images / "0.png",
    }
    done = watch(paths.get(source, source), *args)
    assert done.exit_code == 2
    assert words in done.stderr and done.stderr.count("\n") == 1 and "hunter2" not in done.stderr
    assert not list(tmp_path.rglob("run.json"))


def test_files_csv_knows_the_kept_frames(watch, clip, tmp_path):
    assert watch(clip, "--every", 12, "--keep", "all").exit_code == 0
    with open(tmp_path / "run" / "files.csv", newline="") as file:
        for path, size, modified, captured in csv.reader(file):
            found = os.stat(path)
            assert (found.st_size, found.st_mtime_ns) == (int(size), int(modified))
            assert captured == modified
