"""Objects in several views and defects of several severities, through the commands."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

import vlad
from vlad.cli import main
from vlad.metrics import concordance, evaluate


@pytest.fixture
def run(small_file):
    def run(*args):
        options = ["--backbone", str(small_file), "--device", "cpu", "--head", "memory"]
        done = CliRunner().invoke(main, [*map(str, args), *options])
        assert done.exit_code == 0, done.output
        return done

    return run


@pytest.fixture
def real_iad(drawn, tmp_path):
    """Two views of three objects, the last two of which have a stain on one view each."""
    folder = tmp_path / "realiad_256" / "plug"
    mask = np.zeros((90, 120), np.uint8)
    mask[30:50, 40:70] = 255

    def entry(kind, name, view, number):
        stem = f"{name}/plug_{view}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        drawn[number].save(folder / f"{stem}.png")
        if kind != "OK":
            image = Image.fromarray(mask).resize(drawn[number].size, Image.NEAREST)
            image.save(folder / f"{stem}_mask.png")
        return {
            "anomaly_class": kind,
            "image_path": f"{stem}.png",
            "mask_path": None if kind == "OK" else f"{stem}_mask.png",
        }

    split = {
        "meta": {"normal_class": "OK"},
        "train": [entry("OK", "OK/S0001", f"C{i}", i) for i in (0, 1)],
        "test": [
            entry("OK", "OK/S0002", "C1", 2),
            entry("OK", "OK/S0002", "C2", 3),
            entry("OK", "NG/S0003", "C1", 1),
            entry("AK", "NG/S0003", "C2", 4),
            entry("AK", "NG/S0004", "C1", 5),
            entry("OK", "NG/S0004", "C2", 0),
        ],
    }
    file = tmp_path / "realiad_jsons" / "realiad_jsons" / "plug.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(split))
    return tmp_path


def test_real_iad_is_measured_by_image_and_by_object(run, real_iad, small_file):
    done = run("eval", real_iad, "--k-shot", 2, "--json", real_iad / "eval.json")
    assert "object AUROC" in done.stdout
    (result,) = json.loads((real_iad / "eval.json").read_text())["results"]
    detector = vlad.load("memory", backbone=str(small_file), device="cpu")
    folder = real_iad / "realiad_256" / "plug"
    detector.fit([folder / f"OK/S0001/plug_C{i}.png" for i in (0, 1)])
    views = [
        folder / f"{n}/plug_C{i}.png" for n in ("OK/S0002", "NG/S0003", "NG/S0004") for i in (1, 2)
    ]
    scores = detector.score(views).image_score
    expected = evaluate(scores.reshape(3, 2).max(1), [0, 1, 1])
    for name, value in expected.items():
        assert result["metrics"][name.replace("image", "object")] == value
    assert result["metrics"]["image_auroc"] == evaluate(scores, [0, 0, 0, 1, 1, 0])["image_auroc"]
    assert set(result["bounds"].values()) == {0}

    run("bench", real_iad, "--k-shot", 2, "--seeds", 0, "--out", real_iad / "bench")
    (row,) = pq.read_table(real_iad / "bench" / "bench.parquet").to_pylist()
    assert row["metric.object_ap"] == expected["image_ap"]
    assert row["layout"] == "real_iad"
    assert (
        "| object AUROC | AP | F1-max | pixel AUROC |" in (real_iad / "bench/bench.md").read_text()
    )


def test_severities_of_a_manifest(run, images, small_file):
    file = images / "list.csv"
    levels = {2: 0, 3: 0, 4: 3, 5: 1}
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["path", "severity", "split"])
        rows.writerows([[f"{i}.png", "", "train"] for i in (0, 1)])
        rows.writerows([[f"{i}.png", level, "test"] for i, level in levels.items()])
    done = run("eval", file, "--k-shot", 2, "--json", images / "eval.json")
    assert "severity concordance" in done.stdout
    (result,) = json.loads((images / "eval.json").read_text())["results"]
    detector = vlad.load("memory", backbone=str(small_file), device="cpu")
    detector.fit([images / "0.png", images / "1.png"])
    scores = detector.score([images / f"{i}.png" for i in levels]).image_score
    expected = concordance(scores, list(levels.values()))
    assert result["metrics"]["severity_concordance"] == expected
    assert "object_auroc" not in result["metrics"]
    cells = dict(
        zip(*(line.split("  ") for line in map(squeezed, done.stdout.splitlines())), strict=True)
    )
    assert cells["severity concordance"] == f"{100 * expected:.1f}"


def squeezed(line):
    """A line of a table with two blanks between its cells."""
    return "  ".join(cell.strip() for cell in line.split("  ") if cell.strip())
