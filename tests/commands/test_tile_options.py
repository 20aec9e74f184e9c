"""--tile and --overlap through the commands: what runs hold, and that a small defect is found."""

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

TILES = ("--tile", "48", "--overlap", "0.5")


@pytest.fixture
def command(small_file):
    def run(verb, *args, backbone=small_file):
        model = ["--backbone", str(backbone), "--device", "cpu"] if verb != "calibrate" else []
        return CliRunner().invoke(main, [verb, *map(str, args), *model])

    return run


@pytest.fixture
def line(drawn, tmp_path):
    """Folders of images of different sizes: `good`, `more` of that kind, and `parts`.

    Part 4 has a square of coloured noise.
    """
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    spoilt = drawn[2].copy()
    spoilt.paste(Image.fromarray(noise), (20, 30))
    for name, images in {
        "good": [drawn[i].rotate(angle) for i in (0, 1) for angle in (0, 90, 180)],
        "more": [drawn[i].rotate(angle) for i in (2, 3) for angle in (0, 90, 180)],
        "parts": [drawn[0].rotate(270), drawn[2], drawn[4], drawn[5].resize((300, 40)), spoilt],
    }.items():
        (tmp_path / name).mkdir()
        for i, image in enumerate(images):
            image.save(tmp_path / name / f"{i}.png")
    return tmp_path


def rows(out):
    with open(out / "scores.csv", newline="", encoding="utf-8") as file:
        return {row["path"].rpartition("/")[2]: row for row in csv.DictReader(file)}


def judged(command, line, out, *more):
    return command(
        "score", line / "parts", "--normal", line / "good", "--k-shot", 2, "--threshold", "auto",
        "--false-alarms", 0.2, "--out", out, *more,
    )  # fmt: skip


def test_a_run_in_tiles(command, line, tmp_path):
    out = tmp_path / "run"
    done = judged(command, line, out, *TILES, "--min-area", 4)
    assert done.exit_code == 0, done.output
    assert "from 4 held-out normal images" in done.output
    settings = json.loads((out / "run.json").read_text())
    assert (settings["tile"], settings["overlap"]) == (48, 0.5)
    # maps, overlays and regions at the size of the images, held-out ones too
    for folder, images in ((out, line / "parts"), (out / "calibration", line / "good")):
        for file in (folder / "maps" / "memory").glob("*.png"):
            with Image.open(images / file.name) as opened:
                assert read_map(file).shape == opened.size[::-1]
    with Image.open(out / "overlays" / "memory" / "3.jpg") as overlay:
        assert overlay.size == (300, 40)
    threshold = json.loads((out / "calibration.json").read_text())["map_thresholds"]["memory"]
    coco = json.loads((out / "regions" / "memory.json").read_text())
    assert {(i["width"], i["height"]) for i in coco["images"]} >= {(300, 40), (108, 110)}
    assert coco["annotations"]
    for region in coco["annotations"]:
        image = coco["images"][region["image_id"] - 1]
        found = read_map(out / "maps" / "memory" / image["file_name"].rpartition("/")[2])
        x, y, width, height = map(int, region["bbox"])
        inside = found[y : y + height, x : x + width]
        assert inside.max() == pytest.approx(region["score"], abs=1e-6)
        assert region["area"] <= (inside > threshold).sum()
    for path, row in rows(out).items():
        found = read_map(out / "maps" / "memory" / path)
        assert float(row["memory_area_px"]) <= (found > threshold).sum()


def test_a_run_goes_on_only_in_the_same_tiles(command, line, tmp_path):
    out = tmp_path / "run"
    judged(command, line, out, *TILES)
    before = rows(out)
    assert judged(command, line, out, *TILES, "--resume").exit_code == 0
    assert rows(out) == before
    for other in ((), ("--tile", 48), ("--tile", 50, "--overlap", "0.5")):
        done = judged(command, line, out, *other, "--resume")
        assert done.exit_code == 2
        assert "other settings" in done.output or "--overwrite" in done.output


def test_a_calibration_is_for_runs_in_the_same_tiles(command, line, tmp_path):
    shots = ("--normal", line / "good", "--k-shot", 2)
    done = command("score", line / "more", *shots, *TILES, "--out", tmp_path / "normal")
    assert done.exit_code == 0, done.output
    file = tmp_path / "line.json"
    done = command("calibrate", tmp_path / "normal", "--false-alarms", 0.2, "--out", file)
    assert done.exit_code == 0, done.output
    maxima = [read_map(path).max() for path in (tmp_path / "normal/maps/memory").glob("*.png")]
    found = json.loads(file.read_text())["map_thresholds"]["memory"]
    assert found == pytest.approx(sorted(maxima)[-1], abs=1e-6)
    for named, tiles in {
        "tile": (),
        "overlap": ("--tile", "48"),
    }.items():
        done = command(
            "score", line / "parts", *shots, "--calibration", file, *tiles, "--out", tmp_path / "a"
        )
        assert done.exit_code == 2
        assert f"with other {named}" in done.output
    done = command(
        "score", line / "parts", *shots, "--calibration", file, *TILES, "--out", tmp_path / "b"
    )
    assert done.exit_code == 0, done.output
    assert {row["memory_verdict"] for row in rows(tmp_path / "b").values()} <= {
        "normal",
        "anomalous",
    }


def test_musc_compares_the_tiles_of_a_run(command, line, tmp_path):
    out = tmp_path / "run"
    done = command("score", line / "parts", "--head", "musc", *TILES, "--out", out)
    assert done.exit_code == 0, done.output
    assert not any(row["error"] for row in rows(out).values())
    assert read_map(out / "maps" / "musc" / "3.png").shape == (40, 300)


def test_eval_and_bench_say_how_images_were_cut(command, category, tmp_path):
    category(tmp_path / "set" / "nut", normal=2)
    file = tmp_path / "eval.json"
    done = command("eval", tmp_path / "set", "--head", "memory", *TILES, "--json", file)
    assert done.exit_code == 0, done.output
    (whole,) = json.loads(file.read_text())["results"]
    assert (whole["tile"], whole["overlap"]) == (48, 0.5)
    assert 0 <= whole["metrics"]["aupro"] <= 1
    for name, tiles in {"tiled": TILES, "whole": ()}.items():
        out = tmp_path / name
        done = command(
            "bench", tmp_path / "set", "--head", "memory", "--k-shot", 4, "--seeds", 0, *tiles,
            "--out", out,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
    (row,) = pq.read_table(tmp_path / "tiled" / "bench.parquet").to_pylist()
    assert (row["tile"], row["overlap"]) == (48, 0.5)
    assert row["metric.pixel_auroc"] == pytest.approx(whole["metrics"]["pixel_auroc"], abs=1e-6)
    (row,) = pq.read_table(tmp_path / "whole" / "bench.parquet").to_pylist()
    assert (row["tile"], row["overlap"]) == (None, None)
    assert "tile: 48" in (tmp_path / "tiled" / "bench.md").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--overlap", "0.3"), "set their size with --tile"),
        (("--tile", "8"), "32 or more"),
        (("--tile", "64", "--overlap", "0.95"), "below 0.9"),
    ],
)
def test_what_cannot_be_cut_is_refused_before_anything_is_done(command, line, options, said):
    done = command("score", line / "parts", "--category", "nut", "--out", line / "out", *options)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not (line / "out").exists()


# --- the use of it


def plate(seed, pit=None):
    """Unevenly lit, brushed metal of 1200 × 900 pixels; a pit is a faint disc, 12 pixels across."""
    random = np.random.default_rng(seed)

    def spread(shape):
        found = Image.fromarray(random.normal(0, 1, shape).astype(np.float32))
        return np.asarray(found.resize((1200, 900), Image.BICUBIC))

    pixels = 135 + 9 * spread((900, 30)) + 5 * spread((4, 5)) + 4 * spread((900, 1200))
    if pit:
        y, x = np.mgrid[0:900, 0:1200]
        pixels *= 1 - 0.1 * np.clip(6.5 - np.hypot(x - pit[0], y - pit[1]), 0, 1)
    grey = pixels.clip(0, 255).astype(np.uint8)
    return Image.fromarray(np.repeat(grey[..., None], 3, axis=-1))


def test_a_defect_of_12_pixels_is_found_in_tiles_alone(command, tmp_path):
    pits = {"a": (411, 777), "b": (1003, 250)}
    for i in range(5):
        (tmp_path / "good").mkdir(exist_ok=True)
        plate(i).save(tmp_path / "good" / f"{i}.png")
    for i, (name, pit) in enumerate(pits.items()):
        (tmp_path / "parts").mkdir(exist_ok=True)
        plate(50 + i, pit).save(tmp_path / "parts" / f"{name}.png")

    def missed_by(out, *tiles):
        """Verdicts, and how far from the pits the highest values of the maps lie."""
        done = command(
            "score", tmp_path / "parts", "--normal", tmp_path / "good", "--k-shot", 1,
            "--threshold", "auto", "--false-alarms", 0.2, "--out", out, *tiles,
            backbone="vlad-tiny",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        distances = {}
        for name, (x, y) in pits.items():
            found = read_map(out / "maps" / "memory" / f"{name}.png")
            row, column = np.unravel_index(found.argmax(), found.shape)
            scale = 1200 / found.shape[1]
            distances[name] = np.hypot((column + 0.5) * scale - x, (row + 0.5) * scale - y)
        return {name: rows(out)[f"{name}.png"]["memory_verdict"] for name in pits}, distances

    verdicts, distances = missed_by(tmp_path / "tiled", "--tile", "448", "--overlap", "0.25")
    assert set(verdicts.values()) == {"anomalous"}
    assert max(distances.values()) < 15  # half a patch, of 30 pixels of the image here
    _, distances = missed_by(tmp_path / "whole")
    assert min(distances.values()) > 100
