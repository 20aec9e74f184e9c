"""Verdicts and regions through `vlad score` and `vlad calibrate`."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from vlad.cli import main
from vlad.results.maps import read_map


def draw(folder, names, *, stain=False, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        random = np.random.default_rng([seed, i])
        y, x = np.mgrid[0:60, 0:80]
        waves = np.stack(
            [np.sin(x / 7 + c) * np.cos(y / 9 + random.normal() / 9) for c in (0, 1, 2)]
        )
        pixels = 128 + 40 * waves.transpose(1, 2, 0) + random.normal(0, 6, (60, 80, 3))
        if stain:
            pixels[20:36, 30:50] = random.uniform(0, 255, (16, 20, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A folder `good` of 30 normal images, and `parts` of 8 normal and 4 stained ones."""
    root = tmp_path_factory.mktemp("line")
    draw(root / "good", [f"{i:02}.png" for i in range(30)], seed=3)
    draw(root / "parts", [f"fine{i}.png" for i in range(8)], seed=1)
    draw(root / "parts", [f"stained{i}.png" for i in range(4)], stain=True, seed=2)
    return root


@pytest.fixture
def vlad(small_file):
    def run(verb, *args):
        options = ["--backbone", str(small_file), "--device", "cpu"] if verb == "score" else []
        return CliRunner().invoke(main, [verb, *map(str, args), *options])

    return run


def rows(out):
    with open(out / "scores.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def words(out, column="memory_verdict"):
    return {row["path"].rsplit("/")[-1]: row[column] for row in rows(out)}


def test_auto_from_held_out_normals(vlad, line, tmp_path):
    out = tmp_path / "run"
    done = vlad(
        "score", line / "parts", "--normal", line / "good", "--k-shot", 5,
        "--threshold", "auto", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "from 25 held-out normal images" in done.output
    found = rows(out)
    assert list(found[0]) == [
        "path", "memory", "memory_p_value", "memory_verdict", "memory_abstain",
        "memory_severity", "memory_regions", "memory_area_px", "error",
    ]  # fmt: skip
    verdicts = words(out)
    assert all(verdicts[f"stained{i}.png"] == "anomalous" for i in range(4))
    assert sum(verdicts[f"fine{i}.png"] == "anomalous" for i in range(8)) <= 2
    calibration = json.loads((out / "calibration.json").read_text())
    known = np.array(calibration["reference"]["memory"])
    assert len(known) == 25
    threshold = calibration["thresholds"]["memory"]
    for row in found:
        score, p = float(row["memory"]), float(row["memory_p_value"])
        assert p == pytest.approx((1 + (known >= score).sum()) / 26)
        assert (row["memory_verdict"] == "anomalous") == (score > threshold) == (p <= 0.05)
        assert (row["memory_severity"] != "0") == (score > threshold)
    table = pq.read_table(out / "scores.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types["memory_abstain"] == "bool" and types["memory_regions"] == "int64"
    assert table["memory_verdict"].to_pylist() == [row["memory_verdict"] for row in found]
    # the images shown to the head are none of those that the threshold was found from
    settings = json.loads((out / "run.json").read_text())
    scored = {row["path"] for row in rows(out / "calibration")}
    assert len(scored) == 25 and not scored & set(settings["references"])
    page = (out / "report.html").read_text()
    assert '<line class="cut"' in page and '<b class="anomalous">Anomalous</b>' in page


def test_regions_are_where_the_map_says(vlad, line, tmp_path):
    out = tmp_path / "run"
    options = ["--normal", line / "good", "--k-shot", 5, "--threshold", "auto", "--maps", "npy"]
    done = vlad("score", line / "parts", *options, "--mm-per-pixel", 0.5, "--out", out)
    assert done.exit_code == 0, done.output
    coco = json.loads((out / "regions" / "memory.json").read_text())
    assert len(coco["images"]) == 12
    assert len({a["id"] for a in coco["annotations"]}) == len(coco["annotations"]) > 3
    names = {image["id"]: image for image in coco["images"]}
    for image in coco["images"]:
        assert (image["width"], image["height"]) == (80, 60)
    threshold = coco["info"]["threshold"]
    inside = 0
    for a in coco["annotations"]:
        name = names[a["image_id"]]["file_name"].rsplit("/")[-1][:-4]
        values = read_map(out / "maps" / "memory" / f"{name}.npy")
        x, y, width, height = a["bbox"]
        part = values[int(y) : int(y + height), int(x) : int(x + width)]
        assert a["score"] == pytest.approx(part.max()) and part.max() > threshold
        assert a["area_mm2"] == pytest.approx(a["area"] / 4)
        assert all(len(outline) % 2 == 0 and len(outline) >= 6 for outline in a["segmentation"])
        inside += name.startswith("stained") and x < 50 and x + width > 30 and y < 36
    assert inside >= 4
    areas = {row["path"].rsplit("/")[-1]: float(row["memory_area_mm2"]) for row in rows(out)}
    counts = words(out, "memory_regions")
    for image in coco["images"]:
        name = image["file_name"].rsplit("/")[-1]
        own = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        assert int(counts[name]) == len(own)
        assert areas[name] == pytest.approx(sum(a["area_mm2"] for a in own), abs=1e-5)
    assert '<svg class="regions"' in (out / "report.html").read_text()
    largest = max(a["area_mm2"] for a in coco["annotations"])
    again = [*options, "--mm-per-pixel", 0.5, "--min-area", largest, "--out", out, "--resume"]
    assert vlad("score", line / "parts", *again).exit_code == 0
    coco = json.loads((out / "regions" / "memory.json").read_text())
    assert [a["area_mm2"] for a in coco["annotations"]] == [largest]


def test_without_k_shot_half_of_the_normals_are_held_out(vlad, line, tmp_path):
    out = tmp_path / "run"
    done = vlad(
        "score", line / "parts", "--normal", line / "good", "--threshold", "auto",
        "--false-alarms", 0.1, "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "from 15 held-out normal images" in done.output
    assert len(json.loads((out / "run.json").read_text())["references"]) == 15


@pytest.mark.parametrize("verb", ["score", "watch"])
def test_a_rate_that_too_few_normals_cannot_hold_is_refused(vlad, line, tmp_path, verb):
    good = sorted((line / "good").iterdir())[:8]
    options = [x for path in good for x in ("--normal", path)]
    out = tmp_path / "run"
    done = vlad(verb, line / "parts", *options, "--threshold", "auto", "--out", out)
    assert done.exit_code == 2
    assert "0.05 needs at least 19 held-out normal images, got 4; give more" in done.stderr
    assert "raise the rate to 0.2 or more" in done.stderr
    assert not out.exists()


def test_without_normals_the_images_set_the_threshold(vlad, line, tmp_path):
    options = ["--category", "nut", "--head", "winclip", "--threshold", "auto"]
    done = vlad("score", line / "parts", *options, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "from the 12 images themselves" in done.output
    few = [line / "parts" / f"fine{i}.png" for i in range(3)]
    done = vlad("score", *few, *options, "--out", tmp_path / "few")
    assert done.exit_code == 2
    assert "or 10 images to judge" in done.stderr
    assert not (tmp_path / "few").exists()


def test_normals_that_a_joint_head_cannot_use_are_said(vlad, line, tmp_path):
    options = ["--normal", line / "good", "--head", "memory,musc", "--threshold", "auto"]
    done = vlad("score", line / "parts", *options, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "No false-alarm rate is held: scores of musc depend on all images" in done.output
    assert "15 held-out normal images" in done.output


def test_fused_heads(vlad, line, tmp_path):
    out = tmp_path / "run"
    done = vlad(
        "score", line / "parts", "--normal", line / "good", "--k-shot", 5, "--category", "nut",
        "--head", "winclip,memory", "--fuse", "--confidence", 0.9, "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = rows(out)
    assert {"fused", "fused_p_value", "fused_verdict", "fused_abstain"} <= set(found[0])
    scores = {row["path"].rsplit("/")[-1]: float(row["fused"]) for row in found}
    stained = [score for name, score in scores.items() if name.startswith("stained")]
    assert min(stained) > np.median(list(scores.values()))
    assert "fused:" in done.output
    page = (out / "report.html").read_text()
    assert "<b>fused</b>" in page
    calibration = json.loads((out / "calibration.json").read_text())
    assert calibration["method"] == "fisher" and calibration["confidence"] == 0.9


def test_a_threshold_of_ones_own(vlad, line, tmp_path):
    out = tmp_path / "run"
    options = ["--normal", line / "good", "--k-shot", 5, "--out", out]
    assert vlad("score", line / "parts", *options).exit_code == 0
    before = rows(out)
    assert list(before[0]) == ["path", "memory", "error"]
    cut = float(np.median([float(row["memory"]) for row in before]))
    # a finished run is judged without scoring anything again
    done = vlad(
        "score", line / "parts", *options, "--resume", "--threshold", cut, "--map-threshold", 0.1
    )
    assert done.exit_code == 0, done.output
    found = rows(out)
    assert [row["memory"] for row in found] == [row["memory"] for row in before]
    assert sum(row["memory_verdict"] == "anomalous" for row in found) == 6
    assert all(row["memory_p_value"] == "" and row["memory_regions"] for row in found)
    # and loses its verdicts where none are asked for
    assert vlad("score", line / "parts", *options, "--resume").exit_code == 0
    assert rows(out) == before
    assert not (out / "regions").exists() and not (out / "calibration.json").exists()


def test_a_broken_image_has_no_verdict(vlad, line, tmp_path):
    draw(tmp_path / "some", [f"{i}.png" for i in range(3)])
    (tmp_path / "some" / "broken.png").write_bytes(b"no image at all, but bytes")
    out = tmp_path / "run"
    done = vlad(
        "score", tmp_path / "some", "--normal", line / "good", "--k-shot", 5,
        "--threshold", "auto", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = {row["path"].rsplit("/")[-1]: row for row in rows(out)}
    assert found["broken.png"]["error"] and not found["broken.png"]["memory_verdict"]
    assert found["0.png"]["memory_verdict"]


def test_a_calibration_serves_other_runs(vlad, line, tmp_path):
    shown = [line / "good" / f"{i:02}.png" for i in range(5)]
    fit = [x for path in shown for x in ("--normal", path)]
    others = [line / "good" / f"{i:02}.png" for i in range(5, 30)]
    done = vlad("score", *others, *fit, "--out", tmp_path / "good")
    assert done.exit_code == 0, done.output
    file = tmp_path / "line.json"
    done = vlad("calibrate", tmp_path / "good", "--false-alarms", 0.08, "--out", file)
    assert done.exit_code == 0, done.output
    assert "from 25 normal images" in done.output
    out = tmp_path / "parts"
    done = vlad("score", line / "parts", *fit, "--calibration", file, "--out", out)
    assert done.exit_code == 0, done.output
    verdicts = words(out)
    assert all(verdicts[f"stained{i}.png"] == "anomalous" for i in range(4))
    assert {row["memory_regions"] for row in rows(out)} > {"0"}

    # other settings give other scores, so the threshold means nothing
    done = vlad(
        "score", line / "parts", *fit[2:], "--calibration", file, "--out", tmp_path / "other"
    )
    assert done.exit_code == 2
    assert "made with other references" in done.stderr
    done = vlad(
        "score", line / "parts", "--head", "winclip", "--category", "nut", "--calibration", file,
        "--out", tmp_path / "other",
    )  # fmt: skip
    assert done.exit_code == 2
    assert "is for memory" in done.stderr
    assert not (tmp_path / "other").exists()

    # labels move the threshold; the same images by another spelling are still the same
    labels = tmp_path / "labels.csv"
    lines = [
        f"{path},{int(path.name.startswith('stained'))}" for path in (line / "parts").iterdir()
    ]
    labels.write_text("path,label\n" + "\n".join(lines) + "\n")
    done = vlad("calibrate", out, "--labels", labels, "--target", "recall=1", "--out", file)
    assert done.exit_code == 0, done.output
    done = vlad("score", line / "parts", *fit, "--calibration", file, "--out", out, "--resume")
    assert done.exit_code == 0, done.output
    assert [v for name, v in words(out).items() if name.startswith("stained")] == ["anomalous"] * 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--threshold", "high"], "is not a number; give one such as 0.02"),
        (["--threshold", "nan"], "is not a number; give one such as 0.02"),
        (["--map-threshold", "1"], "add --threshold auto"),
        (["--confidence", "0.9"], "add --threshold auto"),
        (["--mm-per-pixel", "0.1"], "add --threshold auto"),
        (["--fuse"], "combines several heads"),
        (["--threshold", "1", "--confidence", "0.9"], "give --threshold auto"),
        (["--threshold", "1", "--head", "winclip,memory"], "is for one head, but there are 2"),
        (["--threshold", "auto", "--false-alarms", "0"], "--false-alarms"),
        (["--threshold", "auto", "--calibration", "x.json"], "brings its own threshold"),
        (["--calibration", "x.json"], "x.json is not a calibration"),
        (["--threshold", "auto", "--confidence", "0.4"], "--confidence"),
        (["--threshold", "auto", "--min-area", "-1"], "--min-area"),
    ],
)
def test_bad_options_are_one_sentence(vlad, line, tmp_path, options, sentence):
    out = tmp_path / "run"
    fixed = ["--normal", line / "good", "--category", "nut", "--out", out]
    done = vlad("score", line / "parts", *fixed, *options)
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert not out.exists()


def test_calibrate_says_what_it_cannot_do(vlad, line, tmp_path):
    assert (
        vlad(
            "score", line / "parts", "--normal", line / "good", "--out", tmp_path / "run"
        ).exit_code
        == 0
    )
    some = tmp_path / "same"
    assert vlad("score", line / "good", "--normal", line / "good", "--out", some).exit_code == 0
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\nelsewhere.png,1\n")
    empty = tmp_path / "empty.csv"
    empty.write_text("path\nelsewhere.png\n")
    for args, sentence in (
        ([tmp_path], "holds no run"),
        ([tmp_path / "nowhere"], "holds no run"),
        ([some], "is a reference image of the run"),
        (
            [tmp_path / "run"],
            "0.05 needs at least 19 held-out normal images, got 12",
        ),
        ([tmp_path / "run", "--fuse", "fisher"], "has only memory"),
        ([tmp_path / "run", "--target", "best", "--labels", labels], "unknown target"),
        ([tmp_path / "run", "--target", "f1"], "is for labelled images"),
        ([tmp_path / "run", "--miss-cost", 3], "is for labelled images"),
        (
            [tmp_path / "run", "--target", "f1", "--miss-cost", 3, "--labels", labels],
            "leave one out",
        ),
        ([tmp_path / "run", "--labels", labels], "none of the labelled images"),
        ([tmp_path / "run", "--labels", empty], "has no labels"),
        ([tmp_path / "run", "--labels", tmp_path / "no.csv"], "no.csv"),
    ):
        done = vlad("calibrate", *args, "--out", tmp_path / "c.json")
        assert done.exit_code == 2, done.output
        assert sentence in done.stderr and "Traceback" not in done.stderr
        assert not (tmp_path / "c.json").exists()
    done = vlad("calibrate", tmp_path / "run", "--out", tmp_path)
    assert done.exit_code == 2 and "is a folder" in done.stderr


def test_the_exit_code_says_whether_anything_is_anomalous(vlad, line, tmp_path):
    fit = ["--normal", line / "good", "--k-shot", 5, "--fail-on", "anomalous"]
    auto = [*fit, "--threshold", "auto"]
    assert vlad("score", line / "parts", *auto, "--out", tmp_path / "a").exit_code == 1
    fine = [line / "parts" / f"fine{i}.png" for i in range(3)]
    done = vlad("score", *fine, *fit, "--threshold", 9, "--out", tmp_path / "b")
    assert done.exit_code == 0, done.output
    # of several heads any will do, unless they decide together
    both = [*fit, "--category", "nut", "--head", "winclip,memory", "--threshold", "auto"]
    assert vlad("score", line / "parts", *both, "--out", tmp_path / "c").exit_code == 1
    done = vlad("score", line / "parts", *both, "--fuse", "--resume", "--out", tmp_path / "c")
    assert done.exit_code == int("anomalous" in words(tmp_path / "c", "fused_verdict").values())
    done = vlad("score", *fine, *fit, "--out", tmp_path / "d")
    assert (done.exit_code, "needs verdicts; add --threshold auto" in done.stderr) == (2, True)


@pytest.mark.parametrize("options", [["--threshold", "0.5"], ["--threshold", "auto"], []])
def test_suspects_are_those_of_held_out_normals(vlad, line, tmp_path, options):
    fixed = ["--category", "nut", "--head", "winclip", "--suspects", "1", "--out", tmp_path / "run"]
    done = vlad("score", line / "parts", *fixed, *options)
    assert done.exit_code == 2 and "--suspects is for" in done.stderr
    assert not (tmp_path / "run").exists()


def test_zero_is_a_threshold(vlad, line, tmp_path):
    options = ["--normal", line / "good" / "00.png", "--maps", "none", "--threshold", "0"]
    done = vlad("score", line / "parts", *options, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "12 of 12 anomalous, above 0" in done.output
