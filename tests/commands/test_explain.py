"""vlad explain: texts, images and JSON of several files, and what it refuses."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image

from vlad.cli import main
from vlad.detector import Detector


@pytest.fixture
def explain(small_file):
    """Runs `vlad explain` with the small backbone -> click's result."""

    def run(*args, backbone=True):
        options = ["--backbone", str(small_file), "--device", "cpu"] if backbone else []
        return CliRunner().invoke(main, ["explain", *map(str, args), *options])

    return run


def test_each_image_has_a_line_for_each_region_and_reason(explain, images):
    done = explain(images / "5.png", images / "4.png", "--normal", images / "0.png")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert [line.split(": memory ")[0] for line in heads] == [
        str(images / "5.png"),
        str(images / "4.png"),
    ]
    assert lines[1].startswith("  1. ") and "% of the score" in lines[1]
    assert f"nearest reference patch ({images / '0.png'}, " in lines[2]
    assert "half-way between median and maximum" in done.stdout


def test_images_and_json_are_written(explain, images, tmp_path):
    out, file = tmp_path / "out", tmp_path / "reasons.jsonl"
    words = (images / "5.png", "--normal", images / "0.png", "--out", out, "--json", file)
    assert explain(*words).exit_code == 0
    with Image.open(out / "5.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 400
    (line,) = file.read_text().splitlines()
    read = json.loads(line)
    assert read["image"] == str(images / "5.png") and read["regions"]
    again = explain(*words)
    assert again.exit_code == 2
    assert f"{out / '5.png'} exists; add --overwrite" in again.stderr
    assert explain(*words, "--overwrite").exit_code == 0


def test_an_unusable_image_is_a_line_and_the_others_go_on(explain, images, tmp_path):
    bad, file = tmp_path / "bad.png", tmp_path / "reasons.jsonl"
    bad.write_bytes(b"nothing")
    done = explain(bad, images / "5.png", "--normal", images / "0.png", "--json", file)
    assert done.exit_code == 1
    assert f"Error: cannot read {bad}" in done.stderr
    assert str(images / "5.png") in done.stdout
    first, second = map(json.loads, file.read_text().splitlines())
    assert first["image"] == str(bad) and "cannot read" in first["error"]
    assert "error" not in second and second["regions"]


def test_a_detector_brings_its_threshold_of_maps(explain, images, tmp_path, small_file):
    made = Detector("memory", backbone=str(small_file), device="cpu", head_params={"layers": [1]})
    made.fit([images / "0.png"]).calibrate([images / f"{i}.png" for i in (1, 2, 3)], 0.5)
    made.save(tmp_path / "d")
    level = made.calibration_.map_thresholds["memory"]
    done = explain(images / "5.png", "--detector", tmp_path / "d", backbone=False)
    assert done.exit_code == 0, done.output
    assert f"map threshold {level:.4g}." in done.stdout
    refused = explain(
        images / "5.png", "--detector", tmp_path / "d", "--head", "memory", backbone=False
    )
    assert refused.exit_code == 2 and "--head was chosen when the detector" in refused.stderr


def test_heads_without_normal_images_need_none(explain, images):
    done = explain(images / "5.png")
    assert done.exit_code == 0 and ": self_reference " in done.stdout
    assert "alike patches of this image" in done.stdout
    done = explain(images / "5.png", "--category", "bottle")
    assert done.exit_code == 0 and ": winclip " in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--head", "memory"], "Head memory compares with normal images; name them with --normal"),
        (["--k-shot", "1"], "--k-shot draws from normal images"),
        (["--head", "memory,winclip"], "A detector has one head"),
        (["--head", "self_reference", "--normal", "{}"], "uses no normal images"),
        (["--head", "musc"], "scores images jointly"),
        (["--normal", "{}", "--tile", "32"], "cut into tiles are not explained"),
        (["--normal", "{}", "--head", "labelled"], "name them with --known-defects"),
    ],
)
def test_what_cannot_be_explained_ends_with_one_sentence(explain, images, words, sentence):
    done = explain(images / "5.png", *(word.format(images / "0.png") for word in words))
    assert done.exit_code == 2
    assert sentence in done.stderr and done.stdout == ""
