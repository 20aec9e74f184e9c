"""Drift through the commands: what score, calibrate, fit and watch say of darker images."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner
from watching import until
from waves import waves

from vlad.calibration import load_calibration
from vlad.cli import main


def draw(folder, count, seed, light=1.0):
    folder.mkdir(parents=True)
    for i, image in enumerate(waves(count, seed, light)):
        image.save(folder / f"{seed}-{i:03}.png")


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """Folders of 60 good images, 40 more of the same kind, and 40 darker ones."""
    root = tmp_path_factory.mktemp("line")
    draw(root / "good", 60, seed=1)
    draw(root / "same", 40, seed=2)
    draw(root / "dark", 40, seed=3, light=0.7)
    return root


@pytest.fixture(scope="module")
def detector(line, small_file, tmp_path_factory):
    """A detector of 20 of the good images, calibrated on the others."""
    out = tmp_path_factory.mktemp("detector") / "line"
    done = invoke("fit", line / "good", "--k-shot", 20, "--out", out, "--backbone", small_file)
    assert done.exit_code == 0, done.output
    return out


def invoke(*args):
    return CliRunner().invoke(main, [*map(str, args)])


@pytest.mark.parametrize("images, drifted", [("same", False), ("dark", True)])
def test_score_says_keeps_and_reports_drift(vlad, line, tmp_path, images, drifted):
    out = tmp_path / "run"
    auto = ["--normal", line / "good", "--k-shot", 20, "--threshold", "auto", "--maps", "none"]
    done = vlad(line / images, *auto, "--out", out)
    assert done.exit_code == 0, done.output
    (said,) = [text for text in done.output.splitlines() if "rift: these 40 images" in text]
    kept = json.loads((out / "drift.json").read_text())
    assert said == kept["sentence"]
    assert (kept["drift"], kept["images"], kept["good"]) == (drifted, 40, 40)
    report = (out / "report.html").read_text()
    assert report.count(said) == 1 and "Scores of memory" in report
    if drifted:
        assert "30% darker" in said and "30% darker" in report


def test_a_run_without_verdicts_has_no_drift(vlad, line, tmp_path):
    out = tmp_path / "run"
    auto = ["--normal", line / "good", "--k-shot", 20, "--threshold", "auto", "--maps", "none"]
    assert vlad(line / "dark", *auto, "--out", out).exit_code == 0
    done = vlad(line / "dark", *auto[:4], "--maps", "none", "--out", out, "--resume")
    assert done.exit_code == 0, done.output
    assert "rift" not in done.output and not (out / "drift.json").exists()


def test_a_detector_knows_how_its_good_images_look(line, detector, tmp_path):
    done = invoke("score", line / "dark", "--detector", detector, "--out", tmp_path / "run")
    assert "these 40 images" in done.output and "30% darker" in done.output, done.output


def test_calibrate_keeps_how_the_images_of_a_run_look(vlad, line, tmp_path):
    shown = [x for i in range(4) for x in ("--normal", line / "good" / f"1-{i:03}.png")]
    assert vlad(line / "same", *shown, "--out", tmp_path / "run").exit_code == 0
    labels = tmp_path / "labels.csv"
    paths = sorted((line / "same").iterdir())
    labels.write_text("path,label\n" + "".join(f"{p},{int(i < 4)}\n" for i, p in enumerate(paths)))
    for more, count in (([], 40), (["--labels", labels], 36)):
        file = tmp_path / "line.json"
        done = invoke("calibrate", tmp_path / "run", *more, "--out", file)
        assert done.exit_code == 0, done.output
        assert len(load_calibration(file).drift.brightness) == count
        dark = vlad(line / "dark", *shown, "--calibration", file, "--out", tmp_path / f"{count}")
        assert "30% darker" in dark.output, dark.output


def test_a_calibration_of_an_earlier_version_says_that_drift_cannot_be_told(vlad, line, tmp_path):
    shown = [x for i in range(4) for x in ("--normal", line / "good" / f"1-{i:03}.png")]
    file = tmp_path / "line.json"
    assert vlad(line / "same", *shown, "--out", tmp_path / "run").exit_code == 0
    assert invoke("calibrate", tmp_path / "run", "--out", file).exit_code == 0
    content = json.loads(file.read_text())
    del content["drift"]
    file.write_text(json.dumps(content))
    done = vlad(line / "dark", *shown, "--calibration", file, "--out", tmp_path / "next")
    assert done.exit_code == 0, done.output
    assert done.output.count("Drift cannot be told") == 1
    assert not (tmp_path / "next" / "drift.json").exists()


def test_watch_says_when_images_become_darker_and_goes_on_after_a_stop(
    line, detector, tmp_path, run_env
):
    source, out = tmp_path / "camera", tmp_path / "run"
    source.mkdir()

    def start():
        command = [sys.executable, "-m", "vlad", "watch", source, "--detector", detector]
        command += ["--device", "cpu", "--maps", "none", "--interval", "0.1", "--out", out]
        return subprocess.Popen(
            [*map(str, command)], env=run_env, stdout=subprocess.PIPE, text=True
        )

    def copy(folder, first, last):
        for path in sorted((line / folder).iterdir())[first:last]:
            (source / path.name).write_bytes(path.read_bytes())

    def state():
        file = out / "drift.json"
        return json.loads(file.read_text()) if file.exists() else {}

    copy("dark", 0, 30)
    first = start()
    until(lambda: state().get("drift"), first)
    first.send_signal(signal.SIGTERM)
    said, _ = first.communicate(timeout=600)
    assert said.count("Drift: the last 25 images ") == 1 and "30% darker" in said
    # the window is still that of the first command
    copy("dark", 30, 40)
    copy("same", 0, 10)
    again = start()
    until(lambda: state().get("images") == 50, again)
    again.send_signal(signal.SIGTERM)
    said, _ = again.communicate(timeout=600)
    assert said.count("Drift: the last 25 images") == 1  # said again, since it still stands
