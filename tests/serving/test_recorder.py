"""Every request has an id, and a line that tells what was answered, not what was sent."""

import json
from datetime import datetime

import pytest

from vlad.serving.log import RequestLog


@pytest.fixture
def log(tmp_path):
    return RequestLog(str(tmp_path / "requests.jsonl"))


@pytest.fixture
def lines(log):
    """Reads the lines so far."""
    return lambda: [json.loads(line) for line in open(log.path)]


def test_a_line_tells_what_was_answered(serve, memory, files, form, log, lines):
    client = serve({"line": memory}, log=log)
    reply = client.post(
        "/v1/score", files=form(files[0], b"no image", files[5]), headers={"X-Request-Id": "a-1"}
    )
    assert reply.headers["X-Request-Id"] == "a-1"
    (line,) = lines()
    moment = datetime.fromisoformat(line.pop("time").replace("Z", "+00:00"))
    assert moment.utcoffset().total_seconds() == 0
    assert line.pop("milliseconds") > 0
    images = reply.json()["images"]
    assert line == {
        "id": "a-1",
        "method": "POST",
        "path": "/v1/score",
        "status": 200,
        "detector": "line",
        "images": 3,
        "scores": [images[0]["image_score"], None, images[2]["image_score"]],
        "verdicts": [images[0]["verdict"], None, "anomalous"],
    }


def test_names_and_words_stay_out(serve, words, files, log, tmp_path):
    sent = [("images", ("Erika Mustermann.png", files[0])), ("images", ("Erika.png", b"bad"))]
    client = serve({"line": words}, log=log)
    client.post("/v1/score?Erika=1", files=sent)
    client.post("/v1/score", files=sent, data={"category": "Erika"})
    text = (tmp_path / "requests.jsonl").read_text()
    assert text.count("\n") == 2 and "Erika" not in text


def test_refusals_and_other_routes_have_lines_too(serve, memory, files, form, log, lines):
    client = serve({"line": memory}, log=log, max_bytes=100_000)
    client.get("/healthz")
    client.post("/v1/score", content=b"x" * 200_000)
    client.get("/v1/detectors", headers={"Host": "evil.example"})
    client.post("/v1/score", files=form(b"no image"))
    client.post("/v1/detectors", files=form(files[0]), data={"name": "new"})
    client.delete("/v1/detectors/new")
    found = [(x["method"], x["path"], x["status"], x.get("detector")) for x in lines()]
    assert found == [
        ("GET", "/healthz", 200, None),
        ("POST", "/v1/score", 413, None),
        ("GET", "/v1/detectors", 403, None),
        ("POST", "/v1/score", 422, "line"),
        ("POST", "/v1/detectors", 201, "new"),
        ("DELETE", "/v1/detectors/new", 204, "new"),
    ]


def test_ids_that_could_be_anything_are_replaced(serve, memory):
    client = serve({"line": memory})
    found = set()
    for given in ("", "a b", "<b>", '"}', "x" * 129, "é".encode()):
        reply = client.get("/healthz", headers={"X-Request-Id": given})
        assert len(reply.headers["X-Request-Id"]) == 32
        found.add(reply.headers["X-Request-Id"])
    assert len(found) == 6
    for good in ("f058ebd6-02f7-4d3f-942e-904344e8cde5", "Root=1-67891233:abc"):
        reply = client.get("/healthz", headers={"X-Request-Id": good})
        assert reply.headers["X-Request-Id"] == good


def test_an_error_of_the_service_is_logged(memory, log, lines, monkeypatch, files, form):
    from fastapi.testclient import TestClient

    from vlad.serving.app import create_app
    from vlad.serving.detectors import Served, Store
    from vlad.serving.limits import Limits

    monkeypatch.setattr("vlad.serving.routes.score.replies.Question.answer", lambda *args: 1 / 0)
    app = create_app(Store([Served("line", memory)]), Limits(), log=log)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        assert client.post("/v1/score", files=form(files[0])).status_code == 500
    (line,) = lines()
    assert (line["status"], line["detector"], line["images"]) == (500, "line", 1)
