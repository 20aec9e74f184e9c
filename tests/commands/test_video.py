"""vlad video: rows with times, events, thresholds from normal footage, clips that are damaged."""

from __future__ import annotations

import csv
import json
import os

import numpy as np
import pytest
from click.testing import CliRunner
from clips import write_clip, write_sound
from PIL import Image

from vlad.cli import main

RATE = 10


def pixels(images, number):
    return np.asarray(Image.open(images / f"{number}.png").convert("RGB"))


@pytest.fixture
def clip(images, tmp_path):
    """Frames 20 to 29 and 50 to 54 of 80 show another image than the rest."""
    shown = [1 if 20 <= n < 30 or 50 <= n < 55 else 0 for n in range(80)]
    frames = [pixels(images, number) for number in shown]
    path = tmp_path / "clip.mkv"
    return write_clip(
        path, frames, codec="ffv1", pixels="bgra", creation_time="2026-01-02T03:04:05Z"
    )


@pytest.fixture
def video(images, small_file, tmp_path):
    """Runs `vlad video` -> click's result."""

    def run(*clips, out=tmp_path / "run"):
        options = ["--normal", images / "0.png", "--backbone", small_file, "--device", "cpu"]
        return CliRunner().invoke(main, list(map(str, ["video", *clips, *options, "--out", out])))

    return run


def table(file):
    with open(file, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_rows_have_times_and_events_have_ends(video, clip, tmp_path):
    out = tmp_path / "run"
    done = video(
        clip, "--begin-above", 0.01, "--smooth", "none", "--map-threshold", 0.001, "--clips"
    )
    assert done.exit_code == 0, done.output
    assert "memory: 2 events, above 0.01" in done.stdout
    assert "80 frames scored" in done.stdout and "Scores are not smoothed." in done.stdout
    rows = table(out / "scores.csv")
    assert [float(row["seconds"]) for row in rows] == pytest.approx([n / 10 for n in range(80)])
    assert rows[15]["time"] == "2026-01-02T03:04:06.500000Z"
    assert [row["memory_event"] for row in rows[18:32]] == ["", "", *["1"] * 10, "", ""]
    events = table(out / "events.csv")
    assert [(e["start"], e["end"], e["frames"]) for e in events] == [
        ("2.0", "2.9", "10"), ("5.0", "5.4", "5"),
    ]  # fmt: skip
    assert {e["ended"] for e in events} == {"score fell"} and events[0]["source"] == "clip.mkv"
    # the region of the event is in the image, and is followed through its frames
    first = events[0]
    assert float(first["width"]) > 0 and first["track_frames"] == "10"
    assert len([t for t in table(out / "tracks.csv") if t["event"] == "1"]) == 10
    import av

    with av.open(str(out / first["clip"])) as cut:
        assert 10 <= sum(1 for _ in cut.decode(video=0)) <= 32  # with a second on each side
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count('class="event"') == 2 and page.count("data:image/jpeg") == 2
    assert "style=" not in page.partition("</style>")[2]  # the page's own policy forbids it


def test_a_stopped_run_goes_on(video, clip, tmp_path):
    out = tmp_path / "run"
    assert video(clip, "--begin-above", 0.01).exit_code == 0
    events = (out / "events.csv").read_bytes()
    rows = (out / "scores.csv").read_text(encoding="utf-8").splitlines()
    # as it was killed: half of the rows, in the journal's own columns
    header = "path,memory,error"
    kept = [",".join([*line.split(",")[:2], ""]) for line in rows[1:41]]
    (out / "scores.csv").write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
    assert "already holds" in video(clip, "--begin-above", 0.01).stderr
    done = video(clip, "--begin-above", 0.01, "--resume")
    assert done.exit_code == 0, done.output
    assert "continuing after frame 39" in done.stderr
    assert (out / "scores.csv").read_text(encoding="utf-8").splitlines() == rows
    assert (out / "events.csv").read_bytes() == events


def test_thresholds_come_from_normal_footage_and_serve_another_run(
    video, clip, images, tmp_path, monkeypatch
):
    generator = np.random.default_rng(0)
    frames = [
        np.clip(pixels(images, 0) + generator.normal(0, 3, (1, 1, 3)), 0, 255).astype(np.uint8)
        for _ in range(120)
    ]
    quiet = write_clip(tmp_path / "quiet.mkv", frames, codec="ffv1", pixels="bgra")
    more = ["--smooth", "ewma=0.2", "--fps", 5]
    out, hours = tmp_path / "run", 12 / 3600
    few = video(clip, "--normal-footage", quiet, *more)
    assert few.exit_code == 2
    assert "1 false alarms per hour need at least 60 min of normal footage, got 12 s" in few.stderr
    done = video(
        clip, "--normal-footage", quiet, "--alarms-per-hour", 2 / hours, "--overwrite", *more
    )
    assert done.exit_code == 0, done.output
    assert "At most 600 false alarms per hour are expected" in done.stdout
    assert "causal EWMA, 0.2 s" in done.stdout
    found = json.loads((out / "thresholds.json").read_text())
    assert found["hourly"]["memory"]["hours"] == pytest.approx(hours)
    assert len(table(out / "events.csv")) == 2
    again = video(clip, "--thresholds", out / "thresholds.json", "--fps", 5, out=tmp_path / "b")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "b" / "events.csv").read_bytes() == (out / "events.csv").read_bytes()
    other = video(clip, "--thresholds", out / "thresholds.json", "--fps", 2, out=tmp_path / "c")
    assert "the thresholds were found with other fps (5.0 there, 2.0 here)" in other.stderr


def test_a_folder_of_frames_is_a_video(video, images, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(12):  # 10 comes after 9
        source = 1 if number in (9, 10) else 0
        (folder / f"f{number}.png").write_bytes((images / f"{source}.png").read_bytes())
    (folder / "f5.png").write_bytes(b"no image")
    done = video(folder, "--begin-above", 0.01, "--frame-rate", 2, "--smooth", "none", "--clips")
    assert done.exit_code == 0, done.output
    assert "11 frames scored, 1 failed" in done.stdout
    assert "is a folder of frames, so no clips are cut from it" in done.stderr
    (event,) = table(tmp_path / "run" / "events.csv")
    assert (event["start"], event["end"], event["clip"]) == ("4.5", "5.0", "")


def test_clips_that_cannot_be_read_are_left_out(video, clip, tmp_path):
    sound = write_sound(tmp_path / "sound.mkv")
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(clip.read_bytes()[: os.path.getsize(clip) // 2])
    for bad, said in ((sound, "has no video stream"), (empty, "cannot be read as video")):
        done = video(bad, out=tmp_path / bad.stem)
        assert done.exit_code == 2 and said in done.stderr
    done = video(cut, clip)
    assert done.exit_code == 0, done.output
    assert "cut.mkv ends early" in done.stderr
    sources = {
        os.path.basename(os.path.dirname(r["path"])) for r in table(tmp_path / "run/scores.csv")
    }
    assert sources == {"cut.mkv", "clip.mkv"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--begin-above", 1, "--normal-footage", "clip"], "each set when an event begins"),
        (["--end-below", 1], "--end-below is for --begin-above"),
        (["--alarms-per-hour", 1], "--alarms-per-hour needs footage"),
        (["--begin-above", 1, "--end-below", 2], "--end-below 2 is above --begin-above 1"),
        (["--smooth", "mean"], "mean is not a way to smooth scores"),
        (["--map-threshold", 1], "--map-threshold is for --begin-above"),
        (["--frame-rate", 5], "--frame-rate is for a folder of frames"),
        (["--begin-above", 1, "--head", "memory,padim"], "--begin-above is for one head"),
    ],
)
def test_options_that_do_not_fit(video, clip, options, said):
    done = video(clip, *[clip if word == "clip" else word for word in options])
    assert done.exit_code == 2 and said in done.stderr, done.output


def test_sources_that_are_no_clips(video, clip, tmp_path):
    assert "use vlad watch for it" in video("rtsp://camera/line").stderr
    assert "is no video file and no folder of frames" in video(tmp_path / "none.mp4").stderr
    other = tmp_path / "other"
    other.mkdir()
    (other / "clip.mkv").write_bytes(clip.read_bytes())
    assert "2 clips are named clip.mkv" in video(clip, other / "clip.mkv").stderr
    assert "holds no images" in video(other).stderr


def test_without_thresholds_there_are_scores_alone(video, clip, tmp_path):
    done = video(clip)
    assert done.exit_code == 0 and "No events: nothing decides what one is" in done.stdout
    assert not (tmp_path / "run" / "events.csv").exists()
    assert "memory_smoothed" in table(tmp_path / "run" / "scores.csv")[0]
