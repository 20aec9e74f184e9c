"""vlad video --motion: a jump among slow steps is found, though each frame looks normal."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from vlad.cli import main

JUMP = 9  # the frame that is far from the one before


@pytest.fixture
def footage(images, tmp_path):
    """A folder of frames that move by these pixels each, from one frame to the next."""
    image = np.asarray(Image.open(images / "0.png").convert("RGB"))

    def make(name, steps):
        (tmp_path / name).mkdir()
        for number, moved in enumerate(np.cumsum(steps)):
            path = tmp_path / name / f"{number:03}.png"
            Image.fromarray(np.roll(image, moved, axis=1)).save(path)
        return tmp_path / name

    return make


@pytest.fixture
def video(small_file, tmp_path):
    """Runs `vlad video` -> click's result."""

    def run(*words, out=tmp_path / "run"):
        options = ["--backbone", small_file, "--device", "cpu", "--smooth", "none", "--out", out]
        return CliRunner().invoke(main, list(map(str, ["video", *words, *options])))

    return run


def scores(out):
    with open(out / "scores.csv", newline="", encoding="utf-8") as file:
        return [float(row["memory"]) for row in csv.DictReader(file)]


def test_a_jump_is_found(video, footage, tmp_path):
    quiet, test = footage("quiet", [1] * 40), footage("test", [1] * JUMP + [11] + [1] * 10)
    done = video(test, "--motion", quiet)
    assert done.exit_code == 0, done.output
    found = scores(tmp_path / "run")
    assert np.argmax(found[1:]) + 1 == JUMP and found[JUMP] > 2 * np.median(found)
    assert len(list((tmp_path / "run/normal_changes").iterdir())) == 39
    # in frames as they are, nothing stands out
    still = video(test, "--normal", quiet, out=tmp_path / "still")
    assert still.exit_code == 0, still.output
    assert np.argmax(scores(tmp_path / "still")) != JUMP


def test_a_stopped_run_goes_on_with_the_frame_before(video, footage, tmp_path):
    quiet, test = footage("quiet", [1] * 12), footage("test", [1] * JUMP + [11] + [1] * 10)
    assert video(test, "--motion", quiet).exit_code == 0
    whole = scores(tmp_path / "run")
    file = tmp_path / "run/scores.csv"
    rows = file.read_text(encoding="utf-8").splitlines()
    kept = [",".join([*line.split(",")[:2], ""]) for line in rows[1 : JUMP + 1]]
    file.write_text("\n".join(["path,memory,error", *kept]) + "\n", encoding="utf-8")
    done = video(test, "--motion", quiet, "--resume")
    assert done.exit_code == 0, done.output
    assert scores(tmp_path / "run") == pytest.approx(whole, abs=1e-6)


def test_thresholds_of_frames_are_not_for_changes(video, footage, tmp_path):
    quiet, test = footage("quiet", [1] * 40), footage("test", [1] * 12)
    more = footage("more", [1] * 40)
    first = video(test, "--motion", quiet, "--normal-footage", more, "--alarms-per-hour", 3600)
    assert first.exit_code == 0, first.output
    rules = tmp_path / "run/thresholds.json"
    again = CliRunner()  # without --smooth, which the thresholds bring
    words = [test, "--normal", quiet, "--thresholds", rules, "--backbone", "vlad-tiny"]
    done = again.invoke(main, list(map(str, ["video", *words, "--out", tmp_path / "other"])))
    assert done.exit_code == 2 and "found with other" in done.stderr


@pytest.mark.parametrize("frames, says", [(1, "fewer than two frames"), (3, "--motion brings")])
def test_errors(video, footage, frames, says, images):
    quiet = footage("quiet", [1] * frames)
    more = ["--normal", images / "0.png"] if frames > 1 else []
    assert says in video(quiet, "--motion", quiet, *more).stderr


def test_thresholds_do_not_come_from_what_the_head_remembers(video, footage):
    quiet = footage("quiet", [1] * 40)
    again = quiet.parent / "quiet" / ".." / "quiet"
    done = video(quiet, "--motion", quiet, "--normal-footage", again, "--alarms-per-hour", 3600)
    assert done.exit_code == 2 and "thresholds from it would be too low" in done.stderr
