"""--boxes and --boxes-model: what they change, that it is recorded, and what is refused."""

import csv
import json

import box_models
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
    done = command(*score, tmp_path / "with", "--resume", "--boxes", write())
    assert done.exit_code == 0, done.output
    # other boxes would give other scores
    done = command(*score, tmp_path / "with", "--resume", "--boxes", write(score=0.7))
    assert done.exit_code == 2
    assert "with other settings (boxes: " in done.output


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
        (("--tile", 48), "filo", "Boxes are those of whole images; leave --boxes or --tile out"),
        (("--boxes-model", "some/model"), "filo", "--boxes and --boxes-model exclude each other"),
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


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return box_models.owlv2(tmp_path_factory.mktemp("owl"))


def test_a_model_finds_boxes_while_it_scores(command, tree, model, tmp_path):
    score = ("score", tree / "nut" / "test", "--category", "nut", "--out")
    assert command(*score, tmp_path / "without").exit_code == 0
    done = command(*score, tmp_path / "with", "--boxes-model", model)
    assert done.exit_code == 0, done.output
    before, after = scores(tmp_path / "without"), scores(tmp_path / "with")
    assert any(before[path] != after[path] for path in before)
    recorded = json.loads((tmp_path / "with" / "run.json").read_text())["boxes"]
    assert recorded.startswith(f"{model}@")
    done = command(*score, tmp_path / "with", "--resume")
    assert done.exit_code == 2
    assert "with other settings (boxes: " in done.output
    done = command(*score, tmp_path / "with", "--resume", "--boxes-model", model)
    assert done.exit_code == 0, done.output


def test_boxes_of_the_model_are_those_that_python_finds(command, tree, model, write, tmp_path):
    from PIL import Image

    from vlad.backbones.transformers.boxes import BoxModel
    from vlad.prompts import load_bank

    image = Image.open(tree / "nut" / "test" / "stain" / "4.png").convert("RGB")
    found = BoxModel(str(model)).find(image, load_bank("filo").expand("nut").faults)
    listed = [
        {
            "image_id": 1,
            "bbox": [96 * a, 96 * b, 96 * (c - a), 96 * (d - b)],
            "score": box.score,
            "phrase": box.phrase,
        }
        for box in found
        for a, b, c, d in [box.edges]
    ]
    file = write()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"annotations": listed}))
    score = ("score", tree / "nut" / "test" / "stain" / "4.png", "--category", "nut", "--out")
    for name, given in (("file", ("--boxes", file)), ("model", ("--boxes-model", model))):
        assert command(*score, tmp_path / name, *given).exit_code == 0
    first, second = (next(iter(scores(tmp_path / name).values())) for name in ("file", "model"))
    assert float(first) == pytest.approx(float(second), abs=1e-6)


def test_held_out_images_have_boxes_of_the_model_too(command, tree, model, tmp_path):
    score = (
        *("score", tree / "nut" / "test", "--category", "nut", "--normal", tree / "nut" / "train"),
        *("--threshold", "auto", "--false-alarms", 0.5, "--out"),
    )
    assert command(*score, tmp_path / "without").exit_code == 0
    done = command(*score, tmp_path / "with", "--boxes-model", model)
    assert done.exit_code == 0, done.output
    before, after = (scores(tmp_path / x / "calibration") for x in ("without", "with"))
    assert before.keys() == after.keys()
    assert before != after


def test_an_image_that_cannot_be_read_does_not_stop_a_model(command, tree, model, tmp_path):
    (tree / "nut" / "test" / "stain" / "5.png").write_bytes(b"no image")
    score = ("score", tree / "nut" / "test", "--category", "nut", "--out", tmp_path / "out")
    done = command(*score, "--boxes-model", model)
    assert done.exit_code == 0, done.output
    assert "1 failed" in done.output


def test_eval_takes_a_model(command, tree, model, tmp_path):
    found = command("eval", tree, "--boxes-model", model, "--json", tmp_path / "a.json")
    assert found.exit_code == 0, found.output
    assert json.loads((tmp_path / "a.json").read_text())["boxes"].startswith(f"{model}@")


def test_a_model_that_does_not_fit_is_refused(command, tree, model, tmp_path):
    bank = tmp_path / "plain.toml"
    bank.write_text(
        'title = "a"\nsource = "b"\nlicence = "c"\ntemplates = ["{}"]\n'
        '[states]\nnormal = ["good {}"]\nanomalous = ["bad {}"]\n'
    )
    score = ("score", tree / "nut" / "test", "--category", "nut", "--out", tmp_path / "out")
    for verb in (score, ("eval", tree)):
        for given, head, message in [
            ((model,), "winclip", "No head here uses boxes (winclip); leave --boxes-model out"),
            ((model, "--tile", 48), "filo", "leave --boxes-model or --tile out"),
            ((tmp_path,), "filo", "no config.json"),
            (("nobody/nothing",), "filo", "give a folder as --boxes-model"),
            ((model, "--bank", bank), "filo", "No prompt bank here lists faults of nut"),
        ]:
            done = command(*verb, "--boxes-model", *given, head=head)
            assert done.exit_code == 2, given
            assert message in done.output
    done = command(*score, "--boxes-model", model, "--engine", "ray")
    assert done.exit_code == 2
    assert "--boxes-model is for --engine local" in done.output
    assert not (tmp_path / "out").exists()
