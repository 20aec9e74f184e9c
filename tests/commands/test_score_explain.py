"""vlad score --explain: which images have reasons, and what becomes of them."""

import os
import shutil

import pytest
from PIL import Image

from vlad.detector import Detector
from vlad.errors import ImageError
from vlad.results.folder import RunFolder
from vlad.results.reasons import read_reasons
from vlad.runs import reasons


@pytest.fixture
def explained(vlad, images, tmp_path):
    """`vlad score --explain` on the stained images 2 to 5 and the good ones 0 and 1."""
    normal = ["--normal", images / "0.png", "--normal", images / "1.png"]

    def score(*options, head="memory", out=tmp_path / "run", normal=normal):
        return vlad(images, *normal, "--head", head, "--explain", "--out", out, *options)

    return score


def regions(found, head="memory"):
    return [region for heads in found.values() for region in heads[head]["regions"]]


def test_flagged_images_have_reasons_and_crops_in_the_folder(explained, images, tmp_path, rows):
    done = explained("--threshold", "0.001")
    assert done.exit_code == 0, done.output
    assert "Reasons: 4 flagged images." in done.output
    folder = RunFolder.open(tmp_path / "run")
    found = read_reasons(folder)
    scores = {row["path"]: float(row["memory"]) for row in rows(folder.out)}
    flagged = [path for path in sorted(scores, key=lambda p: -scores[p]) if scores[path] > 0.001]
    assert list(found) == flagged
    for path, heads in found.items():
        assert heads["memory"]["image_score"] == pytest.approx(scores[path], rel=1e-4)
        assert heads["memory"]["regions"]
    for region in regions(found):
        assert region["reference"] in (str(images / "0.png"), str(images / "1.png"))
        for part in ("crop", "reference_crop"):
            with Image.open(folder.out / region[part]) as crop:
                assert max(crop.size) <= 256
    # a moved folder without its images still has all that the report shows
    named = {region[part] for region in regions(found) for part in ("crop", "reference_crop")}
    assert {f"reasons/{name}" for name in os.listdir(folder.out / "reasons")} == named
    page = (folder.out / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in named)


def test_without_a_threshold_the_highest_are_explained(explained, tmp_path, monkeypatch, rows):
    monkeypatch.setattr(reasons, "HIGHEST", 2)
    done = explained()
    said = "Reasons: the 2 highest of 6 images. A threshold would say which are flagged."
    assert said in done.output
    scores = {row["path"]: float(row["memory"]) for row in rows(tmp_path / "run")}
    highest = sorted(scores, key=lambda path: -scores[path])[:2]
    assert list(read_reasons(RunFolder.open(tmp_path / "run"))) == highest


def test_of_many_flagged_images_the_highest_are_explained(explained, monkeypatch):
    monkeypatch.setattr(reasons, "MOST", 3)
    done = explained("--threshold", "0.001")
    assert "Reasons: the 3 highest of 4 flagged images." in done.output


def test_an_interrupted_run_goes_on_where_it_was(explained, tmp_path, monkeypatch):
    explain, asked = reasons.explain, []

    def stopping(panel, image, **options):
        asked.append(options["name"])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return explain(panel, image, **options)

    monkeypatch.setattr(reasons, "explain", stopping)
    assert explained("--threshold", "0.001").exit_code == 130
    folder = RunFolder.open(tmp_path / "run")
    assert list(read_reasons(folder)) == asked[:2]
    assert len(folder.rows) == 6
    done = explained("--threshold", "0.001", "--resume")
    assert done.exit_code == 0, done.output
    assert len(asked) == 5 and asked[2] == asked[3]  # the one at work again, and the last one
    assert len(read_reasons(folder)) == 4


def test_another_threshold_leaves_no_reasons_of_images_that_are_no_longer_flagged(
    explained, vlad, images, tmp_path, rows
):
    explained("--threshold", "0.001")
    scores = sorted(float(row["memory"]) for row in rows(tmp_path / "run"))
    done = explained("--threshold", f"{(scores[-2] + scores[-1]) / 2}", "--resume")
    assert "Reasons: 1 flagged image." in done.output
    folder = RunFolder.open(tmp_path / "run")
    assert len(read_reasons(folder)) == 1
    named = {r[part] for r in regions(read_reasons(folder)) for part in ("crop", "reference_crop")}
    assert len(os.listdir(folder.out / "reasons")) == len(named)
    assert "No image is flagged" in explained("--threshold", "9", "--resume").output
    assert read_reasons(folder) == {}
    normal = ["--normal", images / "0.png", "--normal", images / "1.png"]
    done = vlad(images, *normal, "--head", "memory", "--out", folder.out, "--resume")
    assert done.exit_code == 0, done.output
    assert not {"reasons", "reasons.jsonl"} & set(os.listdir(folder.out))


def test_an_image_that_is_gone_has_none_and_is_counted(explained, tmp_path, monkeypatch):
    explain = reasons.explain

    def failing(panel, image, **options):
        if options["name"].endswith("4.png"):
            raise ImageError("cannot read 4.png (gone); remove it.")
        return explain(panel, image, **options)

    monkeypatch.setattr(reasons, "explain", failing)
    done = explained("--threshold", "0.001")
    assert done.exit_code == 0, done.output
    assert "1 image could not be explained; the first: cannot read 4.png" in done.output
    assert "Reasons: 4 flagged images. 1 image could not be explained." in done.output
    assert len(read_reasons(RunFolder.open(tmp_path / "run"))) == 3


def test_heads_that_score_jointly_are_left_out_and_named(explained, tmp_path):
    done = explained(head="musc,memory")
    assert "musc scores images jointly: no reasons." in done.output, done.output
    for heads in read_reasons(RunFolder.open(tmp_path / "run")).values():
        assert list(heads) == ["memory"]


@pytest.mark.parametrize(
    "head, normal, options, words",
    [
        ("musc", [], [], "musc scores images jointly"),
        ("memory", None, ["--tile", "64"], "cut into tiles are not explained"),
        ("memory", None, ["--engine", "ray"], "--explain is for --engine local"),
    ],
)
def test_runs_that_cannot_be_explained_are_refused_at_once(
    explained, tmp_path, head, normal, options, words
):
    given = {} if normal is None else {"normal": normal}
    done = explained(*options, head=head, **given)
    assert done.exit_code == 2 and words in done.output
    assert not (tmp_path / "run").exists()


def test_a_saved_detector_names_its_reference_images(vlad, images, tmp_path, small_file):
    good = tmp_path / "good"
    good.mkdir()
    for name in ("0.png", "1.png"):
        shutil.copy(images / name, good / name)
    Detector("memory", backbone=str(small_file)).fit(good).save(tmp_path / "detector")
    Image.new("RGB", (64, 64)).save(good / "1.png")
    out = tmp_path / "run"
    options = ["--detector", tmp_path / "detector", "--explain", "--out", out]
    done = vlad(images, *options, backbone=None)
    assert done.exit_code == 0, done.output
    found = regions(read_reasons(RunFolder.open(out)))
    assert {region["reference"] for region in found} <= {str(good / n) for n in ("0.png", "1.png")}
    for region in found:  # none of a file that is another image now
        changed = region["reference"].endswith("1.png")
        assert (region["reference_crop"] is None) == changed
        assert ("changed since the fit" in region["reference_note"]) == changed
