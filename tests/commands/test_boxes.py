"""--boxes through the commands: what it changes, that it is recorded, and what is refused."""

import csv
import json

import pytest
from click.testing import CliRunner

from vlad.cli import main


@pytest.fixture
def tree(category, tmp_path):
    category(tmp_path / "data" / "nut", normal=2)
    return tmp_path / "data"


@pytest.fixture
def command(small_file, small_adapter):
    adapter = small_adapter("filo")

    def run(verb, *args, head="filo"):
        words = [verb, *args, "--head", head, "--backbone", small_file, "--device", "cpu"]
        if head == "filo":
            words += ["--adapter", adapter]
        return CliRunner().invoke(main, [str(word) for word in words])

    return run


@pytest.fixture
def write(tmp_path):
    def write(phrase="rust", name="stain/4.png", **entry):
        file = tmp_path / "boxes.json"
        box = {"image_id": 1, "bbox": [0, 0, 20, 30], "score": 0.5, "phrase": phrase, **entry}
        image = {"id": 1, "file_name": name, "width": 96, "height": 96}
        file.write_text(json.dumps({"images": [image], "annotations": [box]}))
        return file

    return write


def scores(out):
    with open(out / "scores.csv", newline="", encoding="utf-8") as file:
        return {row["path"].rpartition("test/")[2]: row["filo"] for row in csv.DictReader(file)}


def test_a_box_changes_the_score_of_its_image_alone(command, tree, write, tmp_path):
    score = ("score", tree / "nut" / "test", "--category", "nut", "--out")
    assert command(*score, tmp_path / "without").exit_code == 0
    done = command(*score, tmp_path / "with", "--boxes", write())
    assert done.exit_code == 0, done.output
    before, after = scores(tmp_path / "without"), scores(tmp_path / "with")
    assert [path for path in before if before[path] != after[path]] == ["stain/4.png"]
    # other boxes would give other scores
    done = command(*score, tmp_path / "with", "--resume", "--boxes", write(score=0.7))
    assert done.exit_code == 2
    assert "boxes" in done.output


def test_a_box_that_names_no_fault_is_left_out_and_said(command, tree, write, tmp_path):
    score = ("score", tree / "nut" / "test", "--category", "nut", "--out")
    command(*score, tmp_path / "without")
    done = command(*score, tmp_path / "with", "--boxes", write("table"))
    assert scores(tmp_path / "without") == scores(tmp_path / "with")
    assert "leaves boxes with the phrase 'table' out" in done.output


def test_eval_and_bench_take_boxes(command, tree, write, tmp_path):
    file = write(name="nut/test/stain/4.png")
    found = command("eval", tree, "--boxes", file, "--json", tmp_path / "a.json")
    assert found.exit_code == 0, found.output
    assert json.loads((tmp_path / "a.json").read_text())["boxes"]
    bench = ("bench", tree, "--k-shot", 0, "--seeds", 0, "--out", tmp_path / "bench", "--boxes")
    found = command(*bench, file)
    assert found.exit_code == 0, found.output
    found = command(*bench, write(name="nut/test/stain/4.png", score=0.7))
    assert found.exit_code == 2
    assert "boxes" in found.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"name": "stain/9.png"}, "'stain/9.png' names no image of those to score"),
        ({"bbox": [90, 0, 20, 20]}, "outside its image"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(command, tree, write, tmp_path, more, message):
    for verb in (("score", tree / "nut" / "test", "--out", tmp_path / "out"), ("eval", tree)):
        done = command(*verb, "--boxes", write(**more))
        assert done.exit_code == 2
        assert message in done.output


def test_what_boxes_do_not_go_with_is_refused(command, tree, write, tmp_path):
    score = (
        "score",
        tree / "nut" / "test",
        "--category",
        "nut",
        "--out",
        tmp_path / "out",
        "--boxes",
    )
    for more, head, message in [
        ((), "winclip", "No head here uses boxes (winclip)"),
        (("--param", "filo.boxes=false"), "filo", "No head here uses boxes (filo)"),
        (("--tile", 48), "filo", "--boxes are those of whole images"),
        (("--engine", "ray"), "filo", "--boxes is for --engine local"),
        (
            ("--normal", tree / "nut" / "train", "--threshold", "auto", "--false-alarms", 0.3),
            "filo",
            "Held-out normal images have no boxes",
        ),
    ]:
        done = command(*score, write(), *more, head=head)
        assert done.exit_code == 2
        assert message in done.output


def test_a_category_without_faults_is_refused(command, tree, tmp_path):
    done = command("score", tree, "--category", "widget", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "lists no faults of 'widget'" in done.output
    assert "Traceback" not in done.output
