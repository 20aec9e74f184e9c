"""The head vlm in commands, against a fake endpoint."""

import json

from chat_server import MODEL, ChatServer
from click.testing import CliRunner

from vlad.cli import main


def options(server, *more):
    """--head and --param for a model that answers with a confidence."""
    params = [f"model={server.url}", f"model_name={MODEL}", "answer=confidence", *more]
    return ["--head", "statistics,vlm", *(x for p in params for x in ("--param", f"vlm.{p}"))]


def sees(asked):
    """Anomalous if its image has a patch of noise, which the last two have; silent about the first.

    Widths of the images are 120, 117, ..., 105.
    """
    width = asked.images[-1].width
    if width == 120:
        return "I would rather not say."
    return json.dumps({"anomalous": width < 110, "confidence": 0.5})


def test_an_image_without_an_answer_is_a_row_with_its_error(vlad, images, rows, tmp_path):
    with ChatServer(sees) as server:
        given = options(server, "windows=0")
        done = vlad(images, "--normal", images / "1.png", "--out", tmp_path / "run", *given)
    assert "5 images scored, 1 failed" in done.output
    first, *others = rows(tmp_path / "run")
    assert "no score of vlm (no answer: it holds no JSON object)" in first["error"]
    assert first["vlm"] == first["statistics"] == ""
    assert [float(row["vlm"]) for row in others] == [0.25, 0.25, 0.25, 0.75, 0.75]
    assert all(row["statistics"] and not row["error"] for row in others)
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert settings["protocol"]["vlm"] == f"few-shot, stated confidence by {MODEL}"
    assert settings["params"]["vlm"]["model"] == server.url


def test_the_cost_of_the_rest_is_said_after_the_first_batch(vlad, images, tmp_path):
    with ChatServer('{"anomalous": false, "confidence": 1}') as server:
        given = options(server, "windows=2")
        done = vlad(images, "--normal", images / "1.png", "--out", tmp_path / "run", *given)
    assert done.exit_code == 0, done.output
    # six images and their four windows each, less the first four
    assert done.stderr.count("requests left") == 1
    assert "26 requests left: about 2,600 tokens to read, 520 to write and " in done.stderr


def test_the_key_is_in_no_file(vlad, images, tmp_path, monkeypatch):
    monkeypatch.setenv("VLAD_VLM_KEY", "s3cr3t")
    with ChatServer(sees, key="s3cr3t") as server:
        vlad(images, "--normal", images / "1.png", "--out", tmp_path / "run", *options(server))
    assert len(server.asked) > 6 and set(server.keys) == {"Bearer s3cr3t"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(b"s3cr3t" in path.read_bytes() for path in files)


def test_it_stands_beside_other_heads_in_eval(category, small_file, tmp_path):
    category(tmp_path / "nut", 3)
    with ChatServer('{"anomalous": false, "confidence": 1}') as server:
        arguments = ["eval", str(tmp_path / "nut"), "--backbone", str(small_file), "--k-shot", "1"]
        done = CliRunner().invoke(main, [*arguments, "--device", "cpu", *options(server)])
    assert done.exit_code == 0, done.output
    line = next(x for x in done.output.splitlines() if f"vlm (stated confidence by {MODEL})" in x)
    assert "requests left: about" in done.stderr
    assert "50.0" in line  # all images have the same score


def test_an_endpoint_that_is_away_stops_the_run_with_one_sentence(vlad, images, tmp_path):
    with ChatServer(sees) as server:
        given = options(server)
    done = vlad(images, "--normal", images / "1.png", "--out", tmp_path / "run", *given)
    assert done.exit_code == 2
    assert "does not answer" in done.output and "Traceback" not in done.output
