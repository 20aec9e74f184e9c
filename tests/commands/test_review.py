"""vlad review: labels in, another detector out, and nothing lost."""

from pathlib import Path

import pytest
from click.testing import CliRunner

import vlad
from vlad.cli import main
from vlad.results.finished import read_finished
from vlad.review.labels import Label, read_labels, write_labels
from vlad.scoring.record import digest_of


def cli(*args):
    return CliRunner().invoke(main, [*map(str, args)])


@pytest.fixture
def saved(small_file, images, tmp_path):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", layers=(1, 3))
    made.fit(images / "0.png").calibrate([images / f"{i}.png" for i in (1, 2)], false_alarms=0.4)
    return made.save(tmp_path / "detector")


@pytest.fixture
def labels(images, tmp_path):
    """Labels of all images that the detector has not seen, by name alone."""
    return write_labels(
        [Label("3.png", "good"), Label("4.png", "defective"), Label("5.png", "defective")],
        tmp_path / "labels.csv",
    )


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_apply_says_what_changes_and_writes_beside(saved, labels, images, tmp_path):
    before, out = content(saved), tmp_path / "next"
    apply = (
        "review",
        "apply",
        labels,
        "--detector",
        saved,
        "--images",
        images,
        "--device",
        "cpu",
    )
    tried = cli(*apply, "--dry-run")
    assert tried.exit_code == 0, tried.output
    done = cli(*apply, "--out", out)
    assert done.exit_code == 0, done.output
    assert tried.output.splitlines()[:-1] == done.output.splitlines()[:-1]
    assert tried.output.endswith("Nothing was written.\n")
    assert content(saved) == before
    found = vlad.Detector.load(out)
    old, new = (vlad.Detector.load(x).calibration_.thresholds["memory"] for x in (saved, out))
    assert f"Threshold: {old:.6g} before, {new:.6g} after" in done.output
    assert "3 labelled images: 1 good, 2 defects\n" in done.output
    aside = int(digest_of(images / "3.png"), 16) % 4 == 0
    assert ("of 1 good image, which set the threshold, " in done.output) == aside
    assert len(found.calibration_.defects["memory"]) == 2
    refused = cli(*apply, "--out", out)
    assert (refused.exit_code, "already holds a detector" in refused.output) == (2, True)
    assert cli(*apply).exit_code == 2


def test_the_first_known_defects_may_come_from_review(small_file, images, labels, tmp_path):
    fit = ("fit", images / "0.png", "--head", "labelled", "--backbone", small_file)
    assert cli(*fit, "--device", "cpu", "--out", tmp_path / "first").exit_code == 0
    labels.write_text("path,label,kind\n4.png,defective,stain\n5.png,defective,stain\n")
    done = cli(
        *("review", "apply", labels, "--detector", tmp_path / "first", "--images", images),
        *("--device", "cpu", "--out", tmp_path / "next"),
    )
    assert done.exit_code == 0, done.output
    aside = sum(int(digest_of(images / name), 16) % 4 == 0 for name in ("4.png", "5.png"))
    assert f"added to the known defects: 0 good, {2 - aside} defect" in done.output
    assert vlad.Detector.load(tmp_path / "next").head_.known == ["stain"] * (aside < 2)


def test_apply_in_place_can_be_taken_back(saved, labels, images):
    before = vlad.Detector.load(saved)
    done = cli(
        *("review", "apply", labels, "--detector", saved, "--images", images),
        *("--device", "cpu", "--out", saved),
    )
    assert "the earlier one is kept as version 1" in done.output
    assert vlad.Detector.load(saved).calibration_ != before.calibration_
    assert cli("detector", "restore", saved).exit_code == 0
    assert vlad.Detector.load(saved).learned_ == before.learned_


def test_apply_refuses_and_changes_nothing(saved, labels, images, tmp_path):
    before = content(saved)
    apply = ("review", "apply", labels, "--detector", saved, "--device", "cpu", "--out", saved)
    refused = cli(*apply)
    assert refused.exit_code == 2
    assert "3 of 3 labelled images not found: 3.png, 4.png, 5.png" in refused.output
    assert "as --images" in refused.output
    labels.write_text("path,label,by\n3.png,good,anna\n3.png,defective,ben\n")
    refused = cli(*apply, "--images", images)
    assert "3.png (good by anna, defective by ben)" in refused.output
    assert content(saved) == before


@pytest.fixture
def run(saved, images, tmp_path):
    done = cli("score", images, "--detector", saved, "--device", "cpu", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    return tmp_path / "run"


def listed(done):
    """The names of the images that were printed."""
    assert done.exit_code == 0, done.output
    return [Path(x).name for x in done.output.split() if x.endswith(".png")]


def test_list_names_the_worst_or_most_informative_images(run, saved, images, tmp_path):
    scores = read_finished(run).scores["memory"]
    worst = sorted(scores, key=lambda path: -scores[path])
    done = cli("review", "list", run, "--show", 4)
    assert listed(done) == [Path(path).name for path in worst[:4]]
    assert "anomalous" in done.output
    threshold = read_finished(run).thresholds["memory"]
    nearest = min(scores, key=lambda path: abs(scores[path] - threshold))
    informative = listed(cli("review", "list", run, "--order", "informative"))
    assert informative[0] == Path(nearest).name
    assert sorted(informative) == [f"{i}.png" for i in range(6)]
    labels = tmp_path / "labels.csv"
    assert cli("review", "list", run, "--out", labels).exit_code == 0
    text = labels.read_text("utf-8").replace("5.png,,", "5.png,defective,").replace("\n", "\r\n")
    labels.write_text(text, "utf-8")
    with pytest.warns(UserWarning, match="5 images .* without a label left out"):
        (label,) = read_labels(labels)
    assert (label.path, label.label) == (str(images / "5.png"), "defective")
    assert label.digest == digest_of(images / "5.png")
    # the report offers the same order
    assert "Most informative first" in (run / "report.html").read_text("utf-8")


def test_list_says_what_an_order_needs(small_file, run, images, tmp_path):
    (run / "seen.jsonl").unlink()
    refused = cli("review", "list", run, "--order", "informative")
    assert (refused.exit_code, "does not hold how its images look" in refused.output) == (2, True)
    options = ("--normal", images / "0.png", "--backbone", small_file, "--device", "cpu")
    done = cli("score", images, *options, "--out", tmp_path / "plain")
    assert done.exit_code == 0, done.output
    refused = cli("review", "list", tmp_path / "plain", "--order", "informative")
    assert (refused.exit_code, "has no threshold to be near to" in refused.output) == (2, True)


def test_merge(tmp_path):
    anna = write_labels([Label("a.png", "good"), Label("b.png", "good")], tmp_path / "anna.csv")
    ben = tmp_path / "ben.csv"
    ben.write_text(
        "path;label;kind;by;time\nA.png;good;;ben;\nb.png;defective;dent;ben;2026-11-29T12:00:00Z\n"
    )
    out = tmp_path / "all.csv"
    refused = cli("review", "merge", anna, ben, "--out", out)
    assert refused.exit_code == 2 and not out.exists()
    assert f"contradiction: b.png (good by {anna}, defective dent by ben)" in refused.output
    refused = cli("review", "merge", anna, ben, "--prefer", "latest", "--out", out)
    assert (refused.exit_code, "one has no time" in refused.output) == (2, True)
    anna.write_text("path,label,time\na.png,good,\nb.png,good,2026-11-29T13:00:00Z\n")
    done = cli("review", "merge", anna, ben, "--prefer", "latest", "--out", out)
    assert done.exit_code == 0
    assert "3 images labelled, 1 of them by several people" in done.output
    assert [(x.path, x.label) for x in read_labels(out)] == [
        ("a.png", "good"),
        ("b.png", "good"),
        ("A.png", "good"),
    ]
