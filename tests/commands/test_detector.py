"""--detector: a saved detector in every command, and on a machine that has nothing else."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import vlad
from vlad.cli import main

RATE = ("--false-alarms", "0.4")


def cli(*args):
    return CliRunner().invoke(main, [*map(str, args)])


@pytest.fixture
def saved(small_file, images, tmp_path):
    """A fitted and calibrated detector of two images."""
    folder = tmp_path / "detector"
    made = vlad.load("memory", backbone=str(small_file), device="cpu", layers=(1, 3))
    made.fit([images / "0.png", images / "1.png"])
    made.calibrate([images / f"{i}.png" for i in (2, 3)], false_alarms=0.4)
    made.save(folder)
    return folder


def test_a_run_has_the_scores_and_the_threshold_of_the_detector(saved, images, rows, tmp_path):
    done = cli("score", images, "--detector", saved, "--device", "cpu", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    found = rows(tmp_path / "run")
    made = vlad.Detector.load(saved)
    expected = made.score([row["path"] for row in found])
    np.testing.assert_array_equal(
        np.array([row["memory"] for row in found], np.float32), expected.image_score
    )
    verdicts = made.calibration_.decide({"memory": expected.image_score})["memory"]
    assert [row["memory_verdict"] == "anomalous" for row in found] == verdicts.anomalous.tolist()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["references"] == dict(made.learned_)
    again = cli(
        *("score", images, "--detector", saved, "--device", "cpu", "--out", tmp_path / "other"),
        *("--calibration", tmp_path / "run" / "calibration.json"),
    )
    assert again.exit_code == 0, again.output


def test_a_run_is_not_resumed_with_another_detector(saved, images, tmp_path):
    run = ("score", images, "--device", "cpu", "--out", tmp_path / "run", "--detector")
    assert cli(*run, saved).exit_code == 0
    made = vlad.Detector.load(saved)
    made.fit([images / "3.png", images / "1.png"]).save(tmp_path / "other")
    refused = cli(*run, tmp_path / "other", "--resume")
    assert (refused.exit_code, "references" in refused.output) == (2, True)
    assert cli(*run, saved, "--resume").exit_code == 0


@pytest.mark.parametrize(
    "more",
    [
        ("--head", "memory"), ("--backbone", "vlad-tiny"), ("--image-size", "48"),
        ("--normal", "x"), ("--param", "memory.k=2"), ("--dtype", "bfloat16"), ("--seed", "1"),
        ("--tile", "64"), ("--bank", "winclip"), ("--k-shot", "2"),
    ],
)  # fmt: skip
def test_what_the_detector_brings_is_not_chosen_again(saved, images, tmp_path, more):
    done = cli("score", images, "--detector", saved, "--out", tmp_path / "run", *more)
    assert done.exit_code == 2
    assert f"{more[0]} was chosen when the detector {saved} was fitted" in done.output
    assert not (tmp_path / "run").exists()


def test_another_threshold_and_its_limits(saved, images, rows, tmp_path):
    score = ("score", images, "--detector", saved, "--device", "cpu", "--out", tmp_path / "run")
    done = cli(*score, "--threshold", "0.0001")
    assert done.exit_code == 0, done.output
    assert [row["memory_verdict"] for row in rows(tmp_path / "run")].count("anomalous") == 4
    done = cli(*score, "--overwrite", "--confidence", "0.9")
    assert (done.exit_code, "when this detector was calibrated" in done.output) == (2, True)


def test_a_threshold_for_one_category_is_not_used_for_another(small_file, images, tmp_path):
    made = vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")
    made.calibrate([images / f"{i}.png" for i in range(4)], 0.3).save(tmp_path / "nut")
    run = ("score", images, "--detector", tmp_path / "nut", "--device", "cpu")
    done = cli(*run, "--category", "cable", "--out", tmp_path / "a")
    assert (done.exit_code, "prompts" in done.output) == (2, True)
    assert cli(*run, "--out", tmp_path / "b").exit_code == 0


def test_eval_names_test_images_that_it_learned(saved, category, images, tmp_path):
    root = tmp_path / "set" / "nut"
    category(root, normal=2)
    done = cli("eval", root, "--detector", saved, "--device", "cpu", "--json", tmp_path / "r.json")
    assert done.exit_code == 0, done.output
    (result,) = json.loads((tmp_path / "r.json").read_text())["results"]
    assert result["k_shot"] == 2
    assert result["references"] == [str(images / "0.png"), str(images / "1.png")]
    test = sorted((root / "test").rglob("*.png"))
    vlad.Detector.load(saved).fit(test[:1]).save(tmp_path / "seen")
    seen = cli("eval", root, "--detector", tmp_path / "seen", "--device", "cpu")
    assert f"learned from 1 test image, the first is {test[0]}" in seen.output


def test_calibrate_keeps_the_new_threshold(saved, images):
    before = vlad.Detector.load(saved).calibration_.thresholds
    others = [images / f"{i}.png" for i in (2, 4, 5)]
    done = cli("calibrate", *others, "--detector", saved, "--false-alarms", "0.3")
    assert done.exit_code == 0, done.output
    found = vlad.Detector.load(saved).calibration_
    assert found.thresholds != before and len(found.names) == 3
    assert f"Anomalous above {found.thresholds['memory']:.6g}" in done.output
    refused = cli("calibrate", *others, "--detector", saved, "--out", "x.json")
    assert (refused.exit_code, "are for runs" in refused.output) == (2, True)


def test_calibrate_counts_good_images_of_another_day(saved, images, tmp_path):
    cli("calibrate", *(images / f"{i}.png" for i in (2, 3)), "--detector", saved, *RATE)
    before = vlad.Detector.load(saved).calibration_
    good = [images / f"{i}.png" for i in (2, 3)]
    other = [f"--holdout-normal={images / f'{i}.png'}" for i in (0, 3, 4, 5)]
    done = cli("calibrate", *good, "--detector", saved, *RATE, *other)
    assert done.exit_code == 0, done.output
    found = vlad.Detector.load(saved).calibration_
    # one that it learned and one that set the threshold are no other day
    assert len(found.holdout["memory"]) == 2 and found.thresholds == before.thresholds
    assert "2 of 4 good images of another day are copies" in done.output
    said = "Of 2 good images of another day"
    assert said in done.output and said in cli("detector", "show", saved).output
    refused = cli("calibrate", *good, "--detector", saved, *RATE, other[1])
    assert (refused.exit_code, "say nothing new" in refused.output) == (2, True)
    refused = cli("calibrate", tmp_path, *other, "--out", tmp_path / "c.json")
    assert (refused.exit_code, "needs a detector to score with" in refused.output) == (2, True)


def test_show_says_what_it_rests_on(saved, small_file, images):
    done = cli("detector", "show", saved)
    assert done.exit_code == 0, done.output
    for words in (str(small_file), "2 images", str(images / "0.png"), "from 2 held-out", "layers"):
        assert words in done.output
    assert "inside" not in done.output


def test_show_lists_versions_of_another_head_and_damaged_ones(saved, small_file, images):
    made = vlad.load("statistics", backbone=str(small_file), device="cpu").fit(
        [images / "0.png", images / "1.png"]
    )
    made.replace(saved)
    shown = cli("detector", "show", saved)
    assert shown.exit_code == 0, shown.output
    assert "1: saved" in shown.output and ", threshold 0" in shown.output
    (saved / "versions" / "1" / "calibration.json").unlink()
    shown = cli("detector", "show", saved)
    assert shown.exit_code == 0, shown.output
    assert "1: cannot be restored" in shown.output and "lacks calibration.json" in shown.output


def test_calibrate_can_be_taken_back(saved, images):
    before = vlad.Detector.load(saved).calibration_
    others = [images / f"{i}.png" for i in (2, 3, 4)]
    done = cli("calibrate", *others, "--detector", saved, "--false-alarms", "0.3")
    assert "the earlier threshold is kept as version 1" in done.output
    assert len(vlad.Detector.load(saved).calibration_.names) == 3
    shown = cli("detector", "show", saved).output
    threshold = f"{before.thresholds['memory']:.6g}"
    assert f"2 learned images, threshold {threshold}" in shown
    done = cli("detector", "restore", saved)
    assert (done.exit_code, "Version 1 is back" in done.output) == (0, True)
    assert vlad.Detector.load(saved).calibration_.thresholds == before.thresholds
    assert cli("detector", "restore", saved, 2).exit_code == 0
    assert len(vlad.Detector.load(saved).calibration_.names) == 3
    refused = cli("detector", "restore", saved, 9)
    assert (refused.exit_code, "no version 9; choose from 1, 2, 3" in refused.output) == (2, True)


def test_watch_takes_a_detector(saved, images, tmp_path, run_env):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "vlad", "watch", str(images), "--detector", str(saved)]
    options = ["--device", "cpu", "--interval", "0.1", "--out", str(out)]
    watch = subprocess.Popen(
        [*command, *options], env=run_env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    lines = []
    for line in watch.stdout:
        lines.append(line)
        if sum(".png: memory" in one for one in lines) == 6:
            break
    watch.terminate()
    watch.communicate()
    assert any("anomalous above" in line for line in lines), lines
    assert sum(line.rstrip().endswith(("anomalous", "normal")) for line in lines) == 6


def test_the_folder_alone_scores_on_another_machine(small_file, images, tmp_path, run_env):
    backbone = tmp_path / "here" / "weights.safetensors"
    backbone.parent.mkdir()
    shutil.copy(small_file, backbone)
    fit = ("fit", images, "--k-shot", 2, "--false-alarms", 0.25, "--head", "winclip")
    there = tmp_path / "there"
    done = cli(
        *fit, "--category", "nut", "--backbone", backbone, "--device", "cpu", "--with-weights",
        "--out", tmp_path / "detector",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    expected = vlad.Detector.load(tmp_path / "detector").score(images / "0.png").image_score
    shutil.rmtree(backbone.parent)
    (tmp_path / "detector").rename(there)
    assert "weights are inside" in cli("detector", "show", there).output
    env = {**run_env, "VLAD_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty"), "HOME": str(there)}
    out = tmp_path / "run"
    command = [sys.executable, "-m", "vlad", "score", str(images), "--detector", str(there)]
    done = subprocess.run(
        [*command, "--device", "cpu", "--out", str(out)], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"{float(expected[0])}" in (out / "scores.csv").read_text()


def test_export_takes_a_detector(saved, tmp_path):
    pytest.importorskip("onnxruntime")
    done = cli("export", "--to", "onnx", "--detector", saved, "--out", tmp_path / "graphs")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "graphs" / "detector.onnx").is_file()
