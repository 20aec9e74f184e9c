"""vlad score --explain --vlm: a model's words in the folder of the run, and in no score."""

import json
import signal
import subprocess
import sys
import time

import pytest
from chat_server import ChatServer

from vlad.results.folder import RunFolder
from vlad.results.reasons import read_reasons, read_words

ANSWER = {
    "anomalous": True,
    "kind": "stripe",
    "where": "middle",
    "severity": "minor",
    "sentence": "A stripe crosses the middle.",
    "confidence": 0.5,
}
SAID = json.dumps(ANSWER)


@pytest.fixture
def options(images, tmp_path):
    """Of `vlad score --explain`, which flags four of the six images."""
    normal = ["--normal", images / "0.png", "--normal", images / "1.png", "--head", "memory"]
    threshold = ["--threshold", "0.001", "--explain"]
    return list(map(str, [images, *normal, *threshold, "--out", tmp_path / "run"]))


@pytest.fixture
def score(vlad, options, tmp_path, monkeypatch):
    """Runs it, with a model behind a server or none."""
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "cache"))

    def run(*more, server=None, name="fake-vlm"):
        model = ["--vlm", server.url, "--vlm-model", name] if server else []
        return vlad(*options, *model, *more)

    return run


def folder(tmp_path):
    return RunFolder.open(tmp_path / "run")


def questions(server):
    """Those about images; a first one asks whether anybody is there."""
    return [asked for asked in server.asked if asked.images]


def test_words_stand_beside_the_reasons_and_change_none(score, tmp_path, rows):
    assert score().exit_code == 0
    before, scores = read_reasons(folder(tmp_path)), rows(tmp_path / "run")
    with ChatServer(SAID) as server:
        done = score("--resume", server=server)
    assert done.exit_code == 0, done.output
    assert "Reasons: 4 flagged images.\n" in done.output
    words = read_words(folder(tmp_path))
    assert list(words) == list(before) and len(questions(server)) == 4
    assert {one.sentence for one in words.values()} == {ANSWER["sentence"]}
    assert {one.model for one in words.values()} == {"fake-vlm"}
    assert read_reasons(folder(tmp_path)) == before and rows(tmp_path / "run") == scores
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count("stripe, middle, minor; it calls itself 50 % sure.") == 4
    assert score("--resume").exit_code == 0  # and without a model, no words
    assert read_words(folder(tmp_path)) == {}
    assert read_reasons(folder(tmp_path)) == before


def test_what_is_said_is_not_asked_for_again_but_by_another_model(score, tmp_path, monkeypatch):
    with ChatServer(SAID) as server:
        score(server=server)
        monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "another"))
        done = score("--resume", server=server)
        assert "explained 4/4 images" in done.output
        assert len(questions(server)) == 4
        score("--resume", server=server, name="other")
        assert len(questions(server)) == 8
    assert {one.model for one in read_words(folder(tmp_path)).values()} == {"other"}


def test_an_image_without_an_answer_is_counted_and_asked_again(score, tmp_path):
    with ChatServer(SAID, faults=("", "empty")) as server:
        done = score(server=server)
        assert done.exit_code == 0, done.output
        assert "4 flagged images. No answer of the model about 1 image.\n" in done.output
        page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
        assert page.count("no answer: the endpoint's reply has no choices") == 1
        done = score("--resume", server=server)
    assert len(questions(server)) == 5
    assert "No answer" not in done.output
    assert not any(one.error for one in read_words(folder(tmp_path)).values())


def test_a_run_whose_endpoint_shuts_its_door_still_has_a_report(score, tmp_path):
    with ChatServer(SAID, faults=("", *["404"] * 9)) as server:
        done = score(server=server)
    assert done.exit_code == 0, done.output
    assert "No answer of the model about 4 images." in done.output
    for words in read_words(folder(tmp_path)).values():
        assert words.error.startswith("no answer: The endpoint") and words.anomalous is None
    assert len(read_reasons(folder(tmp_path))) == 4
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a Unix thing")
def test_a_killed_run_asks_only_about_the_images_whose_words_are_missing(
    score, options, tmp_path, small_file, run_env, monkeypatch
):
    command = [sys.executable, "-m", "vlad", "score", *options, "--threshold", "1e-9"]
    command += ["--backbone", str(small_file), "--device", "cpu", "--vlm-model", "fake-vlm"]
    faults = ("", "", "", "", "", *["slow"] * 9)
    with ChatServer(SAID, faults=faults, seconds=30) as server:
        process = subprocess.Popen([*command, "--vlm", server.url], env=run_env)
        end = time.monotonic() + 300
        while len(server.asked) < 6 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    kept = read_words(folder(tmp_path))
    assert len(kept) == 4  # the first batch of the model
    with ChatServer(SAID) as server:
        monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "another"))
        done = score("--resume", "--threshold", "1e-9", server=server)
        assert done.exit_code == 0, done.output
        words = read_words(folder(tmp_path))
        assert len(words) == 6 and words.items() >= kept.items()
        assert len(questions(server)) == 2


def test_the_category_is_told_and_the_cost_of_many_images_said(score):
    with ChatServer(SAID) as server:
        done = score("--threshold", "1e-9", "--category", "nut", server=server)
    assert done.exit_code == 0, done.output
    assert all("images of this category: nut." in asked.text for asked in questions(server))
    assert "2 requests left: about 200 tokens to read, 40 to write and " in done.stderr


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (("--vlm", "http://127.0.0.1:9/v1", "--vlm-model", "x"), "does not answer"),
        (("--vlm", "http://127.0.0.1:9/v1"), "name one with --vlm-model"),
        (("--vlm-model", "x"), "--vlm-model is for an endpoint"),
        (("--vlm-model", "x", "--engine", "ray"), "--explain is for --engine local"),
    ],
)
def test_a_model_that_cannot_be_asked_ends_the_run_before_it_begins(score, tmp_path, more, error):
    done = score(*more)
    assert done.exit_code == 2 and error in done.output
    assert not (tmp_path / "run").exists()


def test_words_without_reasons_are_refused(vlad, images, tmp_path):
    done = vlad(images, "--out", tmp_path / "run", "--vlm", "some/model")
    assert done.exit_code == 2 and "--vlm adds words to reasons; add --explain" in done.output


def test_ray_asks_no_model(vlad, images, tmp_path):
    done = vlad(images, "--out", tmp_path / "run", "--engine", "ray", "--vlm-rate", "3")
    assert done.exit_code == 2 and "--vlm-rate is for --engine local" in done.output
