"""vlad fit saves the detector that Python would make."""

import numpy as np
import pytest
from click.testing import CliRunner

import vlad
from vlad.calibration.holdout import split_normals
from vlad.cli import main


@pytest.fixture
def fit(small_file):
    def run(*args):
        return CliRunner().invoke(
            main, ["fit", *map(str, args), "--backbone", str(small_file), "--device", "cpu"]
        )

    return run


def test_some_are_shown_and_the_others_find_the_threshold(fit, images, drawn, small_file, tmp_path):
    out = tmp_path / "detector"
    done = fit(images, "--k-shot", 2, "--false-alarms", 0.25, "--out", out)
    assert done.exit_code == 0, done.output
    assert "memory: 2 reference images" in done.output
    assert "from 4 held-out normal images" in done.output
    found = vlad.Detector.load(out)
    shown, held_out = split_normals(drawn, 2, 0, 0.25)
    own = vlad.load("memory", backbone=str(small_file), device="cpu")
    own.fit(shown).calibrate(held_out, 0.25)
    np.testing.assert_array_equal(found.score(drawn).image_score, own.score(drawn).image_score)
    assert found.calibration_.thresholds == own.calibration_.thresholds
    assert found.predict(drawn).anomalous.tolist() == own.predict(drawn).anomalous.tolist()


def test_too_few_for_a_threshold_are_all_shown(fit, images, tmp_path):
    done = fit(images, "--out", tmp_path / "detector")
    assert done.exit_code == 0, done.output
    assert "memory: 6 reference images" in done.output
    assert "No threshold: it needs 19 held-out normal images" in done.output
    assert not hasattr(vlad.Detector.load(tmp_path / "detector"), "calibration_")


def test_a_detector_is_replaced_only_when_told(fit, images, tmp_path):
    out = tmp_path / "detector"
    assert fit(images, "--out", out).exit_code == 0
    before = (out / "memory.safetensors").read_bytes()
    again = fit(images / "0.png", "--out", out)
    assert (again.exit_code, "--overwrite" in again.output) == (2, True)
    assert (out / "memory.safetensors").read_bytes() == before
    assert fit(images / "0.png", "--out", out, "--overwrite").exit_code == 0
    assert (out / "memory.safetensors").read_bytes() != before


def test_head_and_parameters(fit, images, tmp_path):
    done = fit(
        images, "--head", "winclip", "--category", "nut", "--param", "winclip.temperature=0.1",
        "--image-size", 48, "--out", tmp_path / "a",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = vlad.Detector.load(tmp_path / "a")
    assert (found.head, found.category, found.image_size) == ("winclip", "nut", 48)
    assert found.head_params == {"temperature": 0.1}
    several = fit(images, "--head", "memory,winclip", "--out", tmp_path / "b")
    assert (several.exit_code, "one head" in several.output) == (2, True)
    learns_nothing = fit(images, "--head", "anomalyclip", "--out", tmp_path / "b")
    assert learns_nothing.exit_code == 2
    assert not (tmp_path / "b").exists()


def test_halves():
    normals = list(range(40))
    shown, held_out = split_normals(normals, None, 0, 0.05)
    assert sorted(shown + held_out) == normals and len(held_out) == 20
    assert split_normals(normals[:37], None, 0, 0.05) == (normals[:37], [])
    shown, held_out = split_normals(normals, 22, 0, 0.05)
    assert (len(shown), held_out) == (22, [])
