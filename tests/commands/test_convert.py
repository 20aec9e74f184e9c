"""vlad convert: a finished run for other programs."""

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner
from finished_run import finished_run
from PIL import Image

from vlad.cli import main
from vlad.commands import convert as command
from vlad.results.folder import RunFolder
from vlad.results.formats import FORMATS


def convert(*args):
    return CliRunner().invoke(main, ["convert", *map(str, args)])


@pytest.fixture
def judged(tmp_path):
    """A run over four images: one with a region, one judged normal with a region, one without,
    and one that failed."""
    root = tmp_path / "parts"
    root.mkdir()
    paths = [root / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        Image.new("RGB", (20, 10), (40 * i, 0, 0)).save(path)
    high = np.zeros((10, 20), np.float32)
    high[2:5, 3:9] = 0.9
    maps = dict(zip(paths, [high, high, 0 * high, None], strict=True))
    scores = dict(zip(paths, [0.9, 0.3, 0.1, None], strict=True))
    return finished_run(tmp_path / "run", root, scores, maps, heads=("memory", "winclip"))


def test_formats_are_those_that_can_be_written():
    assert tuple(FORMATS) == command.FORMATS


def test_what_is_written_and_left_out_is_said(judged, tmp_path):
    done = convert(judged, "--to", "coco", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "Verdicts of memory, regions of memory; choose others with --head.",
        "3 images, 2 without regions; 1 region; left out: 1 failed",
        "1 region left out: in images judged normal.",
        f"Names of images are relative to {tmp_path / 'parts'}",
        f"Written: {tmp_path / 'out'}",
    ]
    done = convert(judged, "--to", "coco", "--head", "winclip", "--out", tmp_path / "second")
    assert "Verdicts of winclip, regions of winclip" in done.stdout


def test_images_that_are_gone_are_said(judged, tmp_path):
    (tmp_path / "parts" / "0.png").unlink()
    done = convert(judged, "--to", "fiftyone", "--out", tmp_path / "out")
    assert f"1 image no longer there; the first is {tmp_path / 'parts' / '0.png'}." in done.stdout
    done = convert(judged, "--to", "yolo", "--with-images", "copy", "--out", tmp_path / "copied")
    assert "2 images, 2 without regions; 0 regions; left out: 1 failed, 1 no longer" in done.stdout


def test_an_address_is_for_label_studio(judged, tmp_path):
    words = ["--url-prefix", "s3://parts/", "--out", tmp_path / "out"]
    done = convert(judged, "--to", "labelstudio", *words)
    assert done.exit_code == 0, done.output
    (first, *_) = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert first["data"]["image"] == "s3://parts/0.png"
    done = convert(judged, "--to", "coco", "--url-prefix", "s3://parts/", "--out", tmp_path / "b")
    assert done.exit_code == 2
    assert "--url-prefix is for --to labelstudio; leave it out." in done.stderr


def test_a_run_without_verdicts_says_how_to_get_them(judged, tmp_path):
    folder = RunFolder.open(judged)
    folder.finish(list(folder.rows))
    done = convert(judged, "--to", "coco", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert (
        f"{judged} has no verdicts; repeat its command with --resume and --threshold auto."
        in done.stderr
    )
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_is_refused(tmp_path):
    done = convert(tmp_path, "--to", "coco", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "holds no run of vlad; give a folder that `vlad score` wrote." in done.stderr


def test_a_run_of_vlad_score(vlad, images, tmp_path):
    run = tmp_path / "run"
    done = vlad(
        images, "--normal", images / "0.png", "--threshold", 0.01, "--map-threshold", 0.05,
        "--out", run,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    done = convert(run, "--to", "coco", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "out" / "annotations.json").read_text())
    found = json.loads((run / "regions" / "memory.json").read_text())
    assert written["annotations"]
    verdicts = {image["id"]: image["verdict"] for image in written["images"]}
    kept = [
        (n["image_id"], n["bbox"], n["segmentation"], n["area"], n["score"])
        for n in found["annotations"]
        if verdicts[n["image_id"]] == "anomalous"
    ]
    assert kept == [
        (n["image_id"], n["bbox"], n["segmentation"], n["area"], n["score"])
        for n in written["annotations"]
    ]


def test_names_that_a_trainer_or_a_reader_would_not_find_are_said(tmp_path):
    root = tmp_path / "parts"
    root.mkdir()
    paths = [root / name for name in ("0.png", "a.jpg", "a.png", os.fsdecode(b"b\xff.png"))]
    for path in paths:
        Image.new("RGB", (20, 10)).save(path, "PNG")
    flat = np.zeros((10, 20), np.float32)
    run = finished_run(
        tmp_path / "run", root, dict.fromkeys(paths, 0.9), dict.fromkeys(paths, flat)
    )

    def said(form, *more):
        done = convert(run, "--to", form, *more, "--out", tmp_path / f"{form}{len(more)}")
        assert done.exit_code == 0, done.output
        return done.stdout

    # labels/a.jpg.txt and labels/a.png.txt: no image has these names
    assert "3 label files not named like the image; the first is of a.jpg. " in said("yolo")
    assert r"1 name not UTF-8, so written with escapes that open no file; the first is b\xff" in (
        said("coco")
    )
    for form in ("yolo", "coco"):
        assert "Repeat with" not in said(form, "--with-images", "copy")
