"""vlad measure: figures of a run over labelled videos, and what it leaves out."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from clips import pixels, table, write_clip
from PIL import Image

from vlad.cli import main


def vlad(*words):
    return CliRunner().invoke(main, list(map(str, words)))


@pytest.fixture
def shown():
    """Video -> the number of the image that each of its frames shows; 0 is normal."""
    return {"bad": [0, 0, 0, 1, 1, 1, 0, 0], "good": [0] * 6, "other": [1, 0]}


@pytest.fixture
def run(images, small_file, tmp_path, shown):
    """A run over three folders of frames."""
    for name, numbers in shown.items():
        (tmp_path / name).mkdir()
        for frame, number in enumerate(numbers):
            image = Image.open(images / f"{number}.png").convert("RGB")
            image.save(tmp_path / name / f"{frame:03}.png")
    out = tmp_path / "run"
    videos = [tmp_path / name for name in shown]
    done = vlad(
        *("video", *videos, "--normal", images / "0.png", "--backbone", small_file),
        *("--device", "cpu", "--smooth", "none", "--begin-above", 0.01, "--map-threshold", 0.001),
        *("--out", out),
    )
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture
def labels(tmp_path):
    """All frames of bad that show image 1, and one that does not."""
    file = tmp_path / "labels.csv"
    file.write_text("video,first,last\nbad,3,6\ngood,,\nmissing,0,1\n")
    return file


def test_figures_and_what_is_left_out(run, labels, tmp_path):
    done = vlad("measure", run, labels, "--out", tmp_path / "figures.json")
    assert done.exit_code == 0, done.output
    # of 4 anomalous frames, 3 are above all 10 normal ones, and one ties with all of them
    assert "memory           0.8750       0.8750       " in done.output
    assert "14 frames of 2 videos; scores not scaled per video" in done.output
    assert "macro is the mean over 1 video, 1 with normal or anomalous" in done.output
    assert "1 video left out, without scores: missing." in done.output
    assert "1 video left out, without labels: other." in done.output
    first = json.loads((tmp_path / "figures.json").read_text())["measured"][0]
    assert first["scores"] == "memory" and first["frames"]["micro"] == pytest.approx(0.875)
    assert first["rbdc"] is None


def test_scaling_per_video_is_named(run, labels):
    done = vlad("measure", run, labels, "--per-video")
    assert "scores scaled from 0 to 1 in each video" in done.output


def test_regions_are_compared_with_tracks(run, labels, tmp_path, images):
    tracks = tmp_path / "tracks"
    tracks.mkdir()
    width, height = Image.open(images / "1.png").size
    whole = f"0,0,{width - 1},{height - 1}"
    (tracks / "bad.txt").write_text("".join(f"0,{n},{whole}\n" for n in (3, 4, 5, 6)))
    done = vlad("measure", run, labels, "--tracks", tracks, "--out", tmp_path / "figures.json")
    assert done.exit_code == 0, done.output
    first = json.loads((tmp_path / "figures.json").read_text())["measured"][0]
    found = [json.loads(line) for line in (run / "frames.jsonl").read_text().splitlines()]
    boxes = {path: regions.get("memory", []) for path, _, regions in found if "/bad/" in path}
    covered = [
        max((w * h / (width * height) for _, _, w, h, _ in some), default=0) >= 0.1
        for some in boxes.values()
    ]
    assert sum(covered) == 3  # the frames that show image 1
    assert first["rbdc"] == pytest.approx(0.75, abs=0.1) and first["tbdc"] > 0.9
    (tracks / "bad.txt").unlink()
    assert "has no tracks of bad" in vlad("measure", run, labels, "--tracks", tracks).output


def test_errors(run, tmp_path):
    assert "names no layout" in vlad("measure", run, tmp_path).output
    (tmp_path / "none.csv").write_text("video,first,last\nelse,1,2\n")
    assert "no video of" in vlad("measure", run, tmp_path / "none.csv").output
    (tmp_path / "short.csv").write_text("video,first,last\nbad,9,2\n")
    assert "line 2 of" in vlad("measure", run, tmp_path / "short.csv").output


def test_two_labelled_videos_of_one_name_are_refused(run, tmp_path):
    (tmp_path / "two.csv").write_text("video,first,last\na/bad,3,6\nb/bad,,\n")
    done = vlad("measure", run, tmp_path / "two.csv")
    assert done.exit_code == 2 and "both have labels" in done.output


def test_a_run_that_was_stopped_is_refused(run, labels):
    lines = (run / "scores.csv").read_text(encoding="utf-8").splitlines()
    kept = [",".join([*line.split(",")[:2], ""]) for line in lines[1:6]]
    (run / "scores.csv").write_text("\n".join(["path,memory,error", *kept]) + "\n")
    done = vlad("measure", run, labels)
    assert done.exit_code == 2 and "was stopped; add --resume" in done.output


def test_frames_scored_as_images_are_measured(images, small_file, labels, run, tmp_path):
    options = ("--normal", images / "0.png", "--head", "memory", "--backbone", small_file)
    options += ("--device", "cpu", "--out")
    out = tmp_path / "as images"
    done = vlad("score", tmp_path / "bad", tmp_path / "good", *options, out)
    assert done.exit_code == 0, done.output
    done = vlad("measure", out, labels)
    assert done.exit_code == 0 and "memory  0.8750       0.8750       " in done.output, done.output
    (out / "scores.parquet").unlink()  # as while it was stopped
    done = vlad("measure", out, labels)
    assert done.exit_code == 2 and "is not finished" in done.output
    (tmp_path / "test").mkdir()
    (tmp_path / "bad").rename(tmp_path / "test" / "good")
    two = tmp_path / "two"
    assert (
        vlad("score", tmp_path / "good", tmp_path / "test" / "good", *options, two).exit_code == 0
    )
    done = vlad("measure", two, labels)
    assert done.exit_code == 2 and "both are called good" in done.output


def test_labels_that_do_not_fit_the_frames_are_said(run, labels, tmp_path, images, small_file):
    assert "another number of frames" not in vlad("measure", run, labels).output
    labels.write_text("video,first,last\nbad,3,8\ngood,,\n")
    done = vlad("measure", run, labels)
    assert "1 video with another number of frames than labels: bad" in done.output
    options = ("--normal", images / "0.png", "--backbone", small_file, "--device", "cpu")
    some = tmp_path / "some"
    assert vlad("video", tmp_path / "bad", *options, "--every", 2, "--out", some).exit_code == 0
    assert "Only some of the frames were scored" in vlad("measure", some, labels).output


def test_frames_that_are_lost_do_not_shift_labels(images, small_file, tmp_path):
    shown = [int(25 <= number < 30) for number in range(40)]
    path = write_clip(tmp_path / "a.mp4", [pixels(images, number) for number in shown])
    content = bytearray(path.read_bytes())
    place = content.index(b"mdat") + len(content) // 4
    content[place : place + len(content) // 8] = bytes(len(content) // 8)
    path.write_bytes(content)
    out = tmp_path / "run"
    options = ("--normal", images / "0.png", "--backbone", small_file, "--device", "cpu")
    done = vlad("video", path, *options, "--smooth", "none", "--out", out)
    assert done.exit_code == 0 and "damaged" in done.output, done.output
    labels = tmp_path / "labels.csv"
    labels.write_text("video,first,last\na.mp4,25,29\n")
    done = vlad("measure", out, labels, "--out", tmp_path / "figures.json")
    assert done.exit_code == 0, done.output
    lost = 40 - len(table(out / "scores.csv"))
    assert lost > 1 and f"{lost} frames of a.mp4 could not be decoded" in done.output
    assert (
        json.loads((tmp_path / "figures.json").read_text())["measured"][0]["frames"]["micro"] == 1
    )
    assert "even times" not in done.output


def test_uneven_times_are_said(run, labels):
    lines = (run / "files.csv").read_text(encoding="utf-8").splitlines()
    for place, line in enumerate(lines):
        path, size, changed, read = line.rsplit(",", 3)
        if path.endswith(("/bad/000006.png", "/bad/000007.png")):  # as if one were lost
            lines[place] = f"{path},{size},{changed},{int(read) + 40_000_000}"
    assert "even times" not in vlad("measure", run, labels).output
    (run / "files.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert "The frames of bad do not come at even times" in vlad("measure", run, labels).output


def test_a_watched_video_without_thresholds_is_measured(images, small_file, tmp_path):
    clip = write_clip(tmp_path / "bad.mkv", [pixels(images, n) for n in (0, 0, 0, 1, 1, 0)])
    done = vlad(
        *("watch", clip, "--normal", images / "0.png", "--backbone", small_file),
        *("--device", "cpu", "--out", tmp_path / "run"),
    )
    assert done.exit_code == 0, done.output
    labels = tmp_path / "labels.csv"
    labels.write_text("video,first,last\nbad.mkv,3,4\n")
    done = vlad("measure", tmp_path / "run", labels)
    assert done.exit_code == 0 and "6 frames of 1 video" in done.output, done.output
    assert "memory " in done.output and "smoothed" not in done.output
