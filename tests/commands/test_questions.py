"""vlad eval --questions, against a fake endpoint and a small model."""

import csv
import json

import pytest
from chat_server import MODEL, ChatServer
from click.testing import CliRunner
from PIL import Image

from vlad.cli import main

LINES = "image,question,A,B,C,answer,kind,data\n"


@pytest.fixture
def folder(tmp_path):
    """Images with questions: the right answer is their colour, or yes."""
    lines = [LINES]
    for i, colour in enumerate(("red", "blue", "lime", "red", "blue", "lime")):
        Image.new("RGB", (30 + i, 20), colour).save(tmp_path / f"{i}.png")
        answer = "ABC"[("red", "blue", "lime").index(colour)]
        lines.append(f"{i}.png,Which colour is it?,red,blue,lime,{answer},colour,{'ab'[i % 2]}\n")
        lines.append(f"{i}.png,Is it a colour?,yes,no,,A,yes or no,{'ab'[i % 2]}\n")
    (tmp_path / "questions.csv").write_text("".join(lines))
    return tmp_path


def sees(asked):
    """The letter of the colour of the image; no word about anything else."""
    colour = asked.images[-1].convert("RGB").getpixel((0, 0))
    word = {(255, 0, 0): "red", (0, 0, 255): "blue", (0, 255, 0): "lime"}[colour]
    for line in asked.text.splitlines():
        if line.endswith(f". {word}"):
            return f"Answer: {line[0]}"
    return "I cannot say."


def run(folder, *arguments):
    questions = ["--questions", str(folder / "questions.csv")]
    return CliRunner().invoke(main, ["eval", str(folder), *questions, *arguments])


def endpoint(server):
    return ["--vlm", server.url, "--vlm-model", MODEL]


def test_accuracy_by_set_and_kind(folder):
    files = ["--json", str(folder / "out.json"), "--answers", str(folder / "out.csv")]
    with ChatServer(sees) as server:
        done = run(folder, *endpoint(server), *files)
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "out.json").read_text())
    accuracy = {(g["data"], g["kind"]): g["accuracy"] for g in found["groups"]}
    assert accuracy == {
        ("a", "colour"): 1, ("a", "yes or no"): 0, ("b", "colour"): 1, ("b", "yes or no"): 0,
        (None, "colour"): 1, (None, "yes or no"): 0, (None, None): 0.5,
    }  # fmt: skip
    assert found["mean_of_kinds"] == 0.5 and found["order"] == "shuffled by seed 0"
    assert found["vlm"] == MODEL and found["asked"] == 12 and found["left_out"] == 0
    assert "6 questions without an answer, counted as wrong" in done.output
    with open(folder / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows[:3]] == ["0.png", "0.png", "1.png"]
    assert rows[0]["chosen"] == rows[0]["right"] == "red"
    assert rows[1]["chosen"] == "" and "names no option" in rows[1]["error"]


def test_the_cost_of_the_rest_is_said_after_the_first_batch(folder):
    with ChatServer(sees) as server:
        done = run(folder, *endpoint(server))
    assert done.stderr.count("requests left") == 1
    assert "8 requests left: about 800 tokens to read, 160 to write and " in done.stderr


def test_a_model_that_says_one_letter_is_shown_as_such(folder):
    with ChatServer("A") as server:
        shuffled = run(folder, *endpoint(server)).output
        listed = run(folder, *endpoint(server), "--listed-order").output
    assert "chose, and those that were right: A 100 % " in shuffled
    assert "A 100 % (67 %), B 0 % (17 %), C 0 % (17 %)" in listed  # 2 of 6, and 6 of 6


def test_probabilities_decide_before_words(folder):
    with ChatServer("A", logprobs={"A": -3.0, "B": -0.1}) as server:
        found = run(folder, *endpoint(server), "--listed-order").output
    assert "B 100 %" in found and "A 0 %" in found


def test_images_that_are_missing_are_left_out_and_said(folder):
    (folder / "0.png").unlink()
    with ChatServer(sees) as server:
        done = run(folder, *endpoint(server), "--json", str(folder / "out.json"))
    assert "Left out 2 questions whose images cannot be read" in done.output
    assert json.loads((folder / "out.json").read_text())["left_out"] == 2
    for image in folder.glob("*.png"):
        image.unlink()
    with ChatServer(sees) as server:
        done = run(folder, *endpoint(server))
    assert done.exit_code == 2 and "No image of the 12 questions" in done.output


def test_a_small_model_answers_every_question_and_the_same_again(folder, small_vlm, monkeypatch):
    monkeypatch.setattr("vlad.vlm.cache.Answers.get", lambda *_: None)
    for name in ("1.csv", "2.csv"):
        answers = str(folder / name)
        done = run(folder, "--vlm", small_vlm, "--device", "cpu", "--answers", answers)
        assert done.exit_code == 0, done.output
        assert "without an answer" not in done.output
    assert (folder / "1.csv").read_bytes() == (folder / "2.csv").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "name one with --vlm"),
        (["--vlm", "any", "--head", "memory"], "--head does not apply to --questions"),
        (["--vlm", "any", "--backbone", "vlad-tiny"], "--backbone does not apply"),
        (["--vlm", "http://127.0.0.1:9/v1"], "--vlm-model"),
    ],
)
def test_options_that_do_not_fit(folder, arguments, why):
    done = run(folder, *arguments)
    assert done.exit_code == 2 and why in done.output


@pytest.mark.parametrize("option", [["--vlm", "any"], ["--answers", "x.csv"], ["--listed-order"]])
def test_options_of_questions_without_any(folder, option):
    done = CliRunner().invoke(main, ["eval", str(folder), *option])
    assert done.exit_code == 2 and f"{option[0]} is for --questions" in done.output
