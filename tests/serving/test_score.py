"""POST /v1/score says what `Detector.score` and the calibration say."""

import base64
import io
import socket

import httpx
import numpy as np
import pytest
from chat_server import MODEL, ChatServer
from PIL import Image

import vlad
from vlad.results.maps import read_map, write_map
from vlad.results.regions import find_regions


def test_all_that_a_calibrated_detector_knows(serve, memory, drawn, files, form):
    # one in a pass on both sides: some are what it was calibrated on, and lie on its thresholds
    reply = serve({"line": memory}, batch_size=1).post("/v1/score", files=form(*files))
    assert reply.status_code == 200
    found = reply.json()
    calibration = memory.calibration_
    assert found["detector"] == "line"
    assert found["threshold"] == calibration.thresholds["memory"]
    assert {image["verdict"] for image in found["images"]} == {"normal", "anomalous"}
    for i, image in enumerate(found["images"]):
        scores, verdicts = memory.score(drawn[i]), memory.predict(drawn[i])
        assert (image["name"], image["error"], image["map"]) == (f"{i}.png", None, None)
        assert (image["width"], image["height"]) == drawn[i].size
        assert image["image_score"] == pytest.approx(scores.image_score[0], abs=1e-6)
        assert image["p_value"] == verdicts.p_value[0]
        assert (image["verdict"] == "anomalous") == verdicts.anomalous[0]
        assert (image["abstain"], image["severity"]) == (False, verdicts.severity[0])
        expected = find_regions(
            scores.anomaly_map[0], calibration.map_thresholds["memory"], drawn[i].size
        )
        assert [region["box"] for region in image["regions"]] == [list(r.box) for r in expected]


def test_a_threshold_of_the_request_replaces_the_verdict_and_not_the_p_value(
    serve, memory, files, form
):
    client = serve({"line": memory}, batch_size=1)
    own = client.post("/v1/score", files=form(*files)).json()
    higher = {"threshold": 1.9, "map_threshold": 1.9}
    changed = client.post("/v1/score", files=form(*files), data=higher).json()
    assert (changed["threshold"], changed["map_threshold"]) == (1.9, 1.9)
    for before, after in zip(own["images"], changed["images"], strict=True):
        assert (after["verdict"], after["regions"]) == ("normal", [])
        assert after["p_value"] == before["p_value"]


def test_without_a_calibration_there_are_scores_alone(serve, words, files, form):
    client = serve({"words": words})
    (image,) = client.post("/v1/score", files=form(files[0])).json()["images"]
    assert isinstance(image["image_score"], float)
    nothing = ("p_value", "verdict", "abstain", "severity", "regions", "map")
    assert [image[key] for key in nothing] == [None] * 6
    (image,) = client.post(
        "/v1/score", files=form(files[0]), data={"threshold": 0}
    ).json()["images"]  # fmt: skip
    assert (image["verdict"], image["p_value"]) == ("anomalous", None)


def test_a_category_of_the_request(serve, words, drawn, files, form):
    words.calibrate(drawn[:3], false_alarms=0.25)
    client = serve({"words": words})
    own = client.post("/v1/score", files=form(files[0])).json()
    other = client.post("/v1/score", files=form(files[0]), data={"category": "cable"}).json()
    assert (own["category"], other["category"]) == ("nut", "cable")
    expected = words.score(drawn[0], category="cable").image_score[0]
    assert other["images"][0]["image_score"] == pytest.approx(expected, abs=1e-6)
    assert other["images"][0]["image_score"] != own["images"][0]["image_score"]
    # the calibration is of nuts
    assert own["images"][0]["verdict"] is not None
    assert other["images"][0]["verdict"] is None


def test_a_head_that_reads_must_be_told_what(serve, words, files, form):
    words.category = None
    client = serve({"words": words})
    reply = client.post("/v1/score", files=form(files[0]))
    assert reply.status_code == 422
    assert "needs to know what the images show" in reply.json()["detail"]
    assert client.post("/v1/score", files=form(files[0]), data={"category": "nut"}).is_success


def test_maps(serve, memory, drawn, files, form, tmp_path):
    client = serve({"line": memory})
    expected = memory.score(drawn[5]).anomaly_map[0]
    sent = {}
    for kind in ("png", "float32"):
        reply = client.post("/v1/score", files=form(files[5]), data={"map": kind}).json()
        sent[kind] = reply["images"][0]["map"]
        assert (sent[kind]["low"], sent[kind]["high"]) == memory.head_.map_range
    raw = base64.b64decode(sent["float32"]["data"])
    values = np.frombuffer(raw, "<f4").reshape(sent["float32"]["height"], sent["float32"]["width"])
    np.testing.assert_allclose(values, expected, atol=1e-6)
    # the same file as a run stores
    stored = write_map(tmp_path / "stored.png", expected, drawn[5].size, memory.head_.map_range)
    (tmp_path / "sent.png").write_bytes(base64.b64decode(sent["png"]["data"]))
    assert (sent["png"]["width"], sent["png"]["height"]) == drawn[5].size
    np.testing.assert_allclose(read_map(tmp_path / "sent.png"), read_map(stored), atol=4e-5)


def test_bad_images_are_entries_and_the_others_go_on(serve, memory, files, form):
    client = serve({"line": memory}, max_pixels=20_000)
    big = io.BytesIO()
    Image.new("RGB", (300, 100)).save(big, "PNG")
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    bad = (files[1][:200], svg, b"", big.getvalue())
    reply = client.post("/v1/score", files=form(files[0], *bad, files[5]))
    assert reply.status_code == 200
    first, cut, text, empty, large, last = reply.json()["images"]
    assert first["error"] is None and last["verdict"] == "anomalous"
    for image, words in (
        (cut, "truncated"),
        (text, "not a supported image"),
        (empty, "empty"),
        (large, "over the limit of 20,000"),
    ):
        assert image["error"].startswith(f"cannot read {image['name']}: ")
        assert words in image["error"]
        assert image["image_score"] is None
    reply = client.post("/v1/score", files=form(*bad))
    assert reply.status_code == 422
    assert reply.json()["detail"].startswith("cannot read 0.png: ")
    outcomes = client.get("/metrics").text
    assert 'vlad_images_total{detector="line",outcome="failed"} 8.0' in outcomes
    assert 'vlad_images_total{detector="line",outcome="anomalous"} 1.0' in outcomes


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "<img src=x onerror=alert(1)>", "ä.png", "=1+1", "-"]
)
def test_names_are_only_said_back(serve, memory, files, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    sent = [("images", (name, files[0])), ("images", (name, b"no image"))]
    reply = serve({"line": memory}).post("/v1/score", files=sent)
    good, bad = reply.json()["images"]
    assert (good["name"], good["error"]) == (name, None)
    assert bad["error"].startswith(f"cannot read {name}: it is not a supported image")
    assert not list(tmp_path.iterdir())


def test_detectors_are_chosen_by_name(serve, memory, words, files, form):
    client = serve({"line": memory, "words": words})
    for name, head in (("line", "memory"), ("words", "winclip"), (None, "memory")):
        found = client.post(
            "/v1/score", files=form(files[0]), data={"detector": name} if name else {}
        )
        assert found.json()["head"] == head
    assert client.post("/v1/score", files=form(files[0]), data={"detector": "x"}).status_code == 404
    for bad in ("../line", "", " line", "a" * 65, "line\n"):
        reply = client.post("/v1/score", files=form(files[0]), data={"detector": bad})
        assert reply.status_code == (200 if bad == "" else 422)  # an empty field is none


def test_fields_out_of_range_are_one_sentence(serve, memory, files, form):
    client = serve({"line": memory}, queue=2)
    for data in (
        {"threshold": "nan"},
        {"map": "svg"},
        {"map_threshold": "x"},
        {"category": "x" * 101},
    ):
        reply = client.post("/v1/score", files=form(files[0]), data=data)
        assert reply.status_code == 422
        assert isinstance(reply.json()["detail"], str)
    assert client.post("/v1/score", data={"map": "png"}).status_code == 422
    reply = client.post("/v1/score", files=form(*files[:3]))
    assert (reply.status_code, "send at most 2" in reply.text) == (413, True)
    torn = client.post(
        "/v1/score",
        content=b"--x\r\nno",
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert torn.status_code in (400, 422)
    assert isinstance(torn.json()["detail"], str)


def test_a_detector_of_known_defects_names_the_kind(
    serve, small_file, drawn, files, form, tmp_path
):
    for folder in ("dent", "ground_truth/dent"):
        (tmp_path / folder).mkdir(parents=True)
    drawn[5].save(tmp_path / "dent" / "0.png")
    Image.new("L", drawn[5].size, 255).save(tmp_path / "ground_truth" / "dent" / "0.png")
    detector = vlad.load("labelled", backbone=str(small_file), device="cpu")
    detector.fit(drawn[0], known_defects=tmp_path)
    client = serve({"line": detector})
    found = client.post("/v1/score", files=form(files[0], files[5])).json()["images"]
    assert [image["kind"] for image in found] == ["", "dent"]
    # memory knows no kinds
    other = serve({"line": vlad.load("memory", backbone=str(small_file)).fit(drawn[0])})
    (image,) = other.post("/v1/score", files=form(files[5])).json()["images"]
    assert image["kind"] is None


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "IMAGE/x-any; a=b"])
def test_a_body_that_is_an_image_is_scored_as_in_a_form(serve, memory, words, files, form, kind):
    client = serve({"line": memory, "words": words}, batch_size=1)
    asked = {"detector": "words", "category": "cable", "threshold": 0.5, "map_threshold": 0.5}
    for fields in ({}, {"map": "png"}, asked):
        sent = {"params": fields, "headers": {"Content-Type": kind}}
        raw = client.post("/v1/score", content=files[5], **sent).json()
        expected = client.post("/v1/score", files=form(files[5]), data=fields).json()
        assert raw["images"][0].pop("name") == "image 1"
        assert expected["images"][0].pop("name") == "0.png"
        assert raw == expected


def test_a_body_that_is_an_image_has_the_limits_of_a_form(serve, memory, files):
    client = serve({"line": memory}, max_bytes=3_000_000, max_pixels=20_000)

    def said(content, status, query=""):
        kind = {"Content-Type": "image/png"}
        reply = client.post(f"/v1/score{query}", content=content, headers=kind)
        assert reply.status_code == status
        return reply.json()["detail"]

    large, big = io.BytesIO(), b"x" * 2_000_000
    Image.new("RGB", (300, 100)).save(large, "PNG")
    assert said(b"", 422).startswith("cannot read image 1: ")
    assert "not a supported image" in said(big, 422)
    assert "over the limit of 20,000" in said(large.getvalue(), 422)
    assert "bytes" in said(iter([big, big]), 413)
    assert "no detector other" in said(files[0], 404, "?detector=other")
    assert "threshold" in said(files[0], 422, "?threshold=nan")
    assert "treshold. Did you mean threshold?" in said(files[0], 422, "?treshold=0.5")
    assert "twice" in said(files[0], 422, "?threshold=1&threshold=2")


def test_other_bodies_are_still_forms(serve, memory, files):
    client = serve({"line": memory})
    for kind in ("", "application/octet-stream", "imagex/png"):
        reply = client.post("/v1/score", content=files[0], headers={"Content-Type": kind})
        assert (reply.status_code, "images" in reply.json()["detail"]) == (422, True)


def test_a_sender_that_leaves_before_the_end_is_no_error_of_the_service(
    live, files, eventually, caplog
):
    host, _, port = live.removeprefix("http://").partition(":")
    head = "POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    with socket.create_connection((host, int(port)), timeout=120) as sender:
        sender.sendall(f"{head}Content-Length: 99999\r\nExpect: 100-continue\r\n\r\n".encode())
        assert sender.recv(9999).startswith(b"HTTP/1.1 100")  # it waits for the body
        sender.sendall(files[0][:100])
    eventually(lambda: 'route="/v1/score"' in httpx.get(f"{live}/metrics").text)
    assert 'route="/v1/score",status="400"} 1.0' in httpx.get(f"{live}/metrics").text
    assert not caplog.records


def test_why_a_vision_language_model_gave_no_score(serve, files, form):
    params = {"model_name": MODEL, "answer": "confidence", "windows": 0}
    with ChatServer('{"anomalous": false, "confidence": 1}') as server:
        made = vlad.load("vlm", backbone="vlad-tiny", model=server.url, **params)
        client = serve({"words": made})
        server.answer = "I will not say."
        silent = client.post("/v1/score", files=form(files[0]))
        server.key = "another"
        locked = client.post("/v1/score", files=form(files[1]))
    assert silent.status_code == 422
    assert "no score of vlm (no answer: it holds no JSON object)" in silent.json()["detail"]
    assert locked.status_code == 502 and "wants a key" in locked.json()["detail"]
