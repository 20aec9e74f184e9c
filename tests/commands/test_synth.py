"""vlad synth: normal images in; a labelled set that `vlad eval` reads back out."""

import csv
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from vlad.cli import main
from vlad.datasets import load_dataset
from vlad.synthetic import GENERATORS


def run(*args):
    return CliRunner().invoke(main, ["synth", *map(str, args)])


@pytest.fixture
def good(tmp_path):
    """Twelve normal images: a brown disc on a yellow ground."""
    folder = tmp_path / "good"
    folder.mkdir()
    y, x = np.ogrid[:64, :80]
    inside = np.hypot(y / 64 - 0.5, x / 80 - 0.5) < 0.3
    for i in range(12):
        image = np.where(inside[..., None], (110, 70, 40 + i), (220, 205, 60))
        grain = np.random.default_rng(i).normal(0, 3, (64, 80, 1))
        Image.fromarray(np.uint8((image + grain).clip(0, 255))).save(folder / f"{i:02}.png")
    return folder


def read_back(root):
    """Its train and test images, as `vlad eval` finds them."""
    data = load_dataset("auto", root)
    (category,) = data.categories
    return data.train(category), data.test(category)


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_is_read_back_and_measured(good, tmp_path, small_file):
    out = tmp_path / "set"
    done = run(good, "--out", out, "--count", 2)
    assert done.exit_code == 0, done.output
    assert "16 images with a defect (8 of 8 generators), 4 normal for testing" in done.stdout
    train, test = read_back(out)
    defects = [sample for sample in test if sample.label]
    assert sorted({sample.defect for sample in defects}) == sorted(GENERATORS)
    assert (len(train), len(test), len(defects)) == (8, 20, 16)
    for sample in defects:
        assert np.asarray(Image.open(sample.mask)).any()
    table = tmp_path / "table.json"
    measured = CliRunner().invoke(
        main,
        f"eval {out} --head memory --backbone {small_file} --device cpu --json {table}".split(),
    )
    assert measured.exit_code == 0, measured.output
    (result,) = json.loads(table.read_text())["results"]
    assert result["images"] == 20 and not result["errors"]
    assert {"image_auroc", "pixel_auroc", "aupro"} <= set(result["metrics"])


def test_manifest_says_where_all_comes_from(good, tmp_path):
    out = tmp_path / "set"
    done = run(good, "--out", out, "--count", 3, "--generator", "scratch, stain")
    assert done.exit_code == 0, done.output
    with open(out / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 + 6
    named = {row["path"] for row in rows} | {row["mask"] for row in rows if row["mask"]}
    assert named == set(files(out)) - {"manifest.csv", "synth.json", "sheet.jpg"}
    for row in rows:
        before, after = (np.asarray(Image.open(p)) for p in (row["source"], out / row["path"]))
        if row["label"] == "0":
            assert np.array_equal(before, after) and row["words"] == ""
            continue
        assert row["words"] == f"a {row['defect']}"
        mask = np.asarray(Image.open(out / row["mask"])) > 0
        assert np.array_equal((before != after).any(2), mask)
    sources = {label: {r["source"] for r in rows if r["label"] == label} for label in "01"}
    references = {row["source"] for row in rows if row["split"] == "train"}
    assert not sources["1"] & references and sources["1"] < sources["0"]
    made = json.loads((out / "synth.json").read_text())
    assert (made["seed"], made["count"], made["generators"]) == (0, 3, ["scratch", "stain"])
    assert Image.open(out / "sheet.jpg").size[0] > 192


def test_the_manifest_is_read_by_eval_too(good, tmp_path):
    assert run(good, "--out", tmp_path / "set", "--count", 1).exit_code == 0
    train, test = read_back(tmp_path / "set" / "manifest.csv")
    assert (len(train), len(test)) == (8, 12)
    assert sum(sample.mask is not None for sample in test) == 8


def test_a_seed_gives_the_same_set(good, tmp_path):
    options = ["--count", 1, "--generator", "cutpaste,missing", "--seed"]
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        assert run(good, "--out", tmp_path / name, *options, seed).exit_code == 0
    a, b, c = (files(tmp_path / name) for name in "abc")
    assert a == b
    assert any(a[name] != c.get(name) for name in a if name.startswith("test/missing"))


def test_more_images_than_normal_ones_all_differ(good, tmp_path):
    done = run(good, "--out", tmp_path / "set", "--count", 10, "--generator", "scratch")
    assert done.exit_code == 0, done.output
    assert len({p.read_bytes() for p in (tmp_path / "set/test/scratch").iterdir()}) == 10


def test_bad_file_is_left_out(good, tmp_path):
    (good / "03.png").write_bytes(b"not an image")
    Image.new("RGB", (4, 4)).save(good / "05.png")
    done = run(good, "--out", tmp_path / "set", "--count", 1, "--generator", "stain")
    assert done.exit_code == 0, done.output
    assert "Left out" in done.stderr and "03.png" in done.stderr and "05.png" in done.stderr
    left_out = json.loads((tmp_path / "set" / "synth.json").read_text())["left_out"]
    assert sorted(left_out) == [str(good / "03.png"), str(good / "05.png")]
    assert len(files(tmp_path / "set" / "train")) + len(files(tmp_path / "set/test/good")) == 10


def test_rank(good, tmp_path, small_file):
    options = ["--count", 2, "--generator", "stain,colour", "--rank", "--device", "cpu"]
    done = run(good, "--out", tmp_path / "set", *options, "--backbone", small_file)
    assert done.exit_code == 0, done.output
    start = next(i for i, s in enumerate(done.stdout.splitlines()) if s.startswith("generator"))
    lines = [line.rsplit(maxsplit=4) for line in done.stdout.splitlines()[start + 1 :]]
    assert {line[0] for line in lines} == {"stain", "colour", "(normal images)"}
    eap = [float(line[2]) for line in lines]
    assert eap == sorted(eap, reverse=True) and all(0 < value < 1 for value in eap)


def test_help_names_every_generator():
    text = run("--help").output.replace("\n", " ")
    assert all(f" {name}" in text for name in GENERATORS)


def test_refusals(good, tmp_path):
    """Each is one sentence and exit code 2, and leaves everything as it was."""
    full, labelled, empty, one = (tmp_path / n for n in ("full", "labelled", "empty", "one"))
    for folder in (full, labelled, empty, one):
        folder.mkdir()
    (full / "mine.txt").write_text("mine")
    shutil.copytree(good, labelled / "train" / "good")
    shutil.copy(good / "00.png", one)
    out = tmp_path / "new"
    before = files(tmp_path)
    for args, said in (
        ([good, "--out", good], f"{good} is not empty"),
        ([good, "--out", full], "is not empty; choose another folder"),
        ([good, "--out", full / "mine.txt"], "is a file; choose another folder"),
        ([empty, "--out", out], "no images in"),
        ([tmp_path / "nowhere", "--out", out], "nowhere"),
        ([labelled, "--out", out], "is a labelled data set (mvtec)"),
        ([one, "--out", out], "needs at least two normal images, got 1 readable"),
        ([good, "--out", out, "--generator", "dent"], "unknown generator 'dent'; choose from"),
        ([good, "--out", out, "--generator", " , "], "no generator given"),
        ([good, "--out", out, "--textures", empty], "no images in"),
        ([good, "--out", out, "--backbone", "vlad-tiny"], "add --rank"),
    ):
        done = run(*args)
        assert done.exit_code == 2, (args, done.output)
        assert said in done.stderr and "Traceback" not in done.stderr, (args, done.stderr)
        assert files(tmp_path) == before, args
