"""vlad explain --vlm: words of a model beside the head's reasons, and what it refuses."""

import json

import pytest
from chat_server import ChatServer
from click.testing import CliRunner
from vlm_models import qwen2_vl

from vlad.cli import main

ANSWER = {
    "anomalous": True,
    "kind": "stripe",
    "where": "middle",
    "severity": "minor",
    "sentence": "A stripe crosses the middle.",
    "confidence": 0.5,
}


@pytest.fixture
def explain(small_file, images, tmp_path, monkeypatch):
    """Runs `vlad explain` on two images -> click's result, and the lines of its JSON."""
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "reasons.jsonl"

    def run(*args, paths=("5.png", "4.png")):
        words = [*(images / path for path in paths), "--normal", images / "0.png", "--json", file]
        options = ["--backbone", small_file, "--device", "cpu", *args]
        done = CliRunner().invoke(main, ["explain", *map(str, [*words, *options])])
        lines = file.read_text().splitlines() if file.exists() else []
        return done, [json.loads(line) for line in lines]

    return run


def test_words_are_beside_the_reasons(explain):
    plain, before = explain()
    with ChatServer(json.dumps(ANSWER)) as server:
        done, lines = explain("--vlm", server.url, "--vlm-model", "fake-vlm", "--category", "nut")
    assert done.exit_code == 0, done.output
    assert [line.pop("words")["sentence"] for line in lines] == [ANSWER["sentence"]] * 2
    assert lines == before
    assert set(plain.stdout.splitlines()) < set(done.stdout.splitlines())
    assert done.stdout.count("fake-vlm says (no part of the score): stripe, middle, minor;") == 2
    assert "images of this category: nut." in server.asked[0].text


def test_a_second_run_asks_nothing(explain):
    with ChatServer(json.dumps(ANSWER)) as server:
        first, _ = explain("--vlm", server.url, "--vlm-model", "fake-vlm")
        asked = len(server.asked)
        second, _ = explain("--vlm", server.url, "--vlm-model", "fake-vlm")
        assert asked == len(server.asked) == 2
    assert second.stdout == first.stdout


def test_a_model_on_this_machine(explain, tmp_path):
    folder = qwen2_vl(tmp_path / "qwen", json.dumps(ANSWER))
    done, lines = explain("--vlm", folder)
    assert done.exit_code == 0, done.output
    assert [line["words"]["kind"] for line in lines] == ["stripe"] * 2
    assert f"Loading {folder}: 0.0 GiB of weights." in done.stderr


def test_an_unusable_image_is_asked_nothing_about(explain, images):
    (images / "1.png").write_bytes(b"nothing")
    with ChatServer(json.dumps(ANSWER)) as server:
        done, lines = explain(
            *("--vlm", server.url, "--vlm-model", "x"), paths=("5.png", "1.png", "4.png")
        )
    assert done.exit_code == 1
    assert len(server.asked) == 2
    assert ["words" in line for line in lines] == [True, False, True]


def test_images_without_an_answer_are_counted(explain):
    with ChatServer(json.dumps(ANSWER), faults=("empty",)) as server:
        done, lines = explain("--vlm", server.url, "--vlm-model", "x")
    assert done.exit_code == 0
    assert "No answer of the model about 1 image.\n" in done.stderr
    assert sorted(line["words"]["error"] for line in lines) == [
        "",
        "no answer: the endpoint's reply has no choices",
    ]


def test_the_cost_of_many_images_is_said(explain):
    with ChatServer(json.dumps(ANSWER)) as server:
        done, _ = explain(
            *("--vlm", server.url, "--vlm-model", "x"),
            paths=[f"{i}.png" for i in (0, 1, 2, 3, 4, 5)],
        )
    assert "2 requests left: about 200 tokens to read, 40 to write and " in done.stderr


def test_the_key_is_in_no_output(explain, tmp_path, monkeypatch):
    monkeypatch.setenv("VLAD_VLM_KEY", "sk-secret")
    out = ("--out", tmp_path / "out")
    with ChatServer(json.dumps(ANSWER), key="sk-secret") as server:
        done, _ = explain("--vlm", server.url, "--vlm-model", "fake-vlm", *out)
    assert done.exit_code == 0, done.output
    assert server.keys[0] == "Bearer sk-secret"
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > 3
    assert not any(b"sk-secret" in data for data in [*written, done.output.encode()])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--vlm", "http://127.0.0.1:9/v1"), "name one with --vlm-model"),
        (("--vlm", "some/model", "--vlm-model", "x"), "--vlm-model is for an endpoint"),
        (("--vlm-model", "x"), "--vlm-model is for an endpoint; give its address with --vlm"),
        (("--vlm-rate", "3"), "--vlm-rate is for an endpoint"),
        (("--vlm", "nobody/no-such-vlm"), "they are not in the local cache and the network is"),
        (("--vlm", "http://127.0.0.1:9/v1", "--vlm-model", "x"), "does not answer"),
        (("--vlm", "x", "--vlm-rate", "0"), "Invalid value for '--vlm-rate'"),
    ],
)
def test_what_cannot_be_asked(explain, options, error):
    done, _ = explain(*options)
    assert done.exit_code == 2
    assert error in done.stderr
    assert "Traceback" not in done.stderr
