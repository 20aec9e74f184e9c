"""Decisions in counts of images: both sides of a threshold, and good images of another day."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from vlad.cli import main


def draw(folder, count, *, seed, stain=False, light=0.0):
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:60, 0:80]
    for i in range(count):
        random = np.random.default_rng([seed, i])
        wave = 128 + light + 40 * np.sin(x / 7) * np.cos(y / 9 + random.normal() / 9)
        pixels = wave[..., None] + random.normal(0, 6, (60, 80, 3))
        if stain:
            pixels[20:36, 30:50] = random.uniform(0, 255, (16, 20, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:02}.png")


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """Folders of 30 good images, 8 stained ones, and 12 good ones in other light."""
    root = tmp_path_factory.mktemp("line")
    draw(root / "good", 30, seed=3)
    draw(root / "stained", 8, seed=2, stain=True)
    draw(root / "day", 12, seed=5, light=50)
    return root


@pytest.fixture
def fit(line):
    return ["--normal", line / "good", "--k-shot", 5]


def calibrate(*args):
    return CliRunner().invoke(main, ["calibrate", *map(str, args)])


def scored(out):
    return json.loads((out / "calibration.json").read_text())


def test_calibrate_says_and_keeps_both_sides(vlad, line, tmp_path):
    out, file = tmp_path / "run", tmp_path / "c.json"
    shown = [x for i in range(5) for x in ("--normal", line / "good" / f"{i:02}.png")]
    good = [line / "good" / f"{i:02}.png" for i in range(5, 30)]
    assert vlad(*good, line / "stained", *shown, "--out", out).exit_code == 0
    # the wrong way round, so that no threshold is without its price
    labels = tmp_path / "labels.csv"
    rows = [f"{path},1" for path in good] + [f"{p},0" for p in (line / "stained").iterdir()]
    labels.write_text("path,label\n" + "\n".join(rows) + "\n")
    said = (
        "Of 8 good images that set the threshold "
        "0 would alarm; of 25 defects 25 would be missed; missing none costs 8 "
        "alarms."
    )
    every = (
        "Of 8 good images that set the threshold 8 would alarm; of 25 defects 0 would be missed."
    )
    for cost, words in ((0.3, said), (0.34, every)):
        done = calibrate(out, "--labels", labels, "--miss-cost", cost, "--out", file)
        assert done.exit_code == 0 and words in done.output.splitlines(), done.output
    assert len(json.loads(file.read_text())["defects"]["memory"]) == 25
    # a run with the file tells them too
    done = vlad(line / "stained", *shown, "--calibration", file, "--out", tmp_path / "next")
    assert done.exit_code == 0 and every in done.output
    assert calibrate(out, "--labels", labels, "--miss-cost", 0, "--out", file).exit_code == 2


def test_another_day_is_counted_and_moves_no_threshold(vlad, line, fit, tmp_path):
    out, plain = tmp_path / "run", tmp_path / "plain"
    auto = [line / "stained", *fit, "--threshold", "auto"]
    assert vlad(*auto, "--out", plain).exit_code == 0
    done = vlad(*auto, "--holdout-normal", line / "day", "--out", out)
    assert done.exit_code == 0, done.output
    found = scored(out)
    assert found["thresholds"] == scored(plain)["thresholds"]
    assert found["reference"] == scored(plain)["reference"] and not scored(plain)["holdout"]
    alarms = sum(x > found["thresholds"]["memory"] for x in found["holdout"]["memory"])
    assert len(found["holdout"]["memory"]) == 12 and alarms > 3
    said = f"Of 12 good images of another day {alarms} would alarm: "
    assert said in done.output and "where 5% was asked for. Chance alone" in done.output
    assert said in (out / "report.html").read_text()
    assert len((out / "holdout" / "scores.csv").read_text().splitlines()) == 13
    assert not (out / "holdout" / "maps").exists()
    # another day in the same run, and none
    again = [*auto, "--out", out, "--resume"]
    fewer = [line / "day" / f"{i:02}.png" for i in range(4)]
    done = vlad(*again, "--holdout-normal", *fewer)
    assert done.exit_code == 0, done.output
    assert scored(out)["holdout"]["memory"] == found["holdout"]["memory"][:4]
    assert vlad(*again).exit_code == 0
    assert not scored(out)["holdout"] and not (out / "holdout").exists()


def test_copies_and_broken_images_of_another_day_are_named(vlad, line, fit, tmp_path):
    day = tmp_path / "day"
    shutil.copytree(line / "day", day)
    shutil.copy(day / "00.png", day / "again.png")
    shutil.copy(line / "good" / "07.png", day / "known.png")
    (day / "broken.png").write_bytes(b"no image")
    auto = [line / "stained", *fit, "--threshold", "auto"]
    done = vlad(*auto, "--holdout-normal", day, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "2 of 15 good images of another day are copies of reference images, held-out" in said
    assert "(again.png, known.png) and not counted." in said
    assert "1 of 13 good images of another day could not be scored; left out." in said
    assert "Of 12 good images of another day" in said
    for given, words in (
        (line / "good", "they say nothing new; give others."),
        (day / "broken.png", "none of the 1 good image of another day could be scored"),
    ):
        done = vlad(*auto, "--holdout-normal", given, "--out", tmp_path / "other")
        assert done.exit_code == 2 and words in done.stderr, done.output


def test_another_day_with_a_calibration_of_earlier(vlad, line, fit, tmp_path):
    run, file = tmp_path / "run", tmp_path / "run" / "calibration.json"
    assert vlad(line / "stained", *fit, "--threshold", "auto", "--out", run).exit_code == 0
    given = [line / "stained", *fit, "--calibration", file, "--holdout-normal"]
    done = vlad(*given, line / "day", "--out", tmp_path / "next")
    assert done.exit_code == 0 and "Of 12 good images of another day" in done.output
    # its images of calibration are copies as well
    done = vlad(*given, line / "good", "--out", tmp_path / "other")
    assert done.exit_code == 2 and "say nothing new" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "counts false alarms at a threshold; add --threshold auto"),
        (["--threshold", "auto", "--engine", "ray"], "--holdout-normal is for --engine local"),
        (["--threshold", "auto", "--head", "musc"], "depend on all images of a run"),
    ],
)
def test_what_another_day_needs(vlad, line, tmp_path, options, words):
    fixed = ["--normal", line / "good", "--holdout-normal", line / "day", "--out", tmp_path / "run"]
    fixed = fixed[2:] if "musc" in options else fixed
    done = vlad(line / "good", *options, *fixed)
    assert done.exit_code == 2 and words in done.stderr, done.output
    assert not (tmp_path / "run").exists()
