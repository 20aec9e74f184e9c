"""Detectors by name: those given, and those made over HTTP."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import vlad
from vlad.errors import HeadError, InputError
from vlad.images.interest import RegionOfInterest
from vlad.serving.detectors import Served, Store, make_ready, named
from vlad.serving.routes import detectors as routes


def test_those_given_are_listed_in_order_with_the_limits(serve, memory, words):
    client = serve({"line": memory, "words": words}, queue=7, max_bytes=10**6)
    found = client.get("/v1/detectors").json()
    line, reading = found["detectors"]
    assert (line["name"], line["head"], line["reads"], line["made"]) == (
        "line", "memory", False, False,
    )  # fmt: skip
    assert line["threshold"] == memory.calibration_.thresholds["memory"]
    assert (reading["category"], reading["reads"], reading["threshold"]) == ("nut", True, None)
    # of two, each may take half of the queue
    assert (found["limits"]["images"], found["limits"]["bytes"]) == (4, 10**6)


def test_one_made_of_uploaded_normals_is_the_one_made_here(
    serve, memory, small_file, drawn, files, form
):
    client = serve({"line": memory})
    fields = {"name": "new", "k_shot": 2, "false_alarms": 0.25}
    made = client.post("/v1/detectors", files=form(*files[:5]), data=fields)
    assert made.status_code == 201
    assert (made.json()["name"], made.json()["made"]) == ("new", True)
    from vlad.calibration.holdout import split_normals

    shown, held_out = split_normals(drawn[:5], 2, 0, 0.25)
    own = vlad.load("memory", backbone=str(small_file), device="cpu")
    own.fit(shown).calibrate(held_out, 0.25)
    assert made.json()["threshold"] == pytest.approx(
        own.calibration_.thresholds["memory"], abs=1e-6
    )
    reply = client.post("/v1/score", files=form(files[5]), data={"detector": "new"}).json()
    expected = own.score(drawn[5]).image_score[0]
    assert reply["images"][0]["image_score"] == pytest.approx(expected, abs=1e-6)
    assert client.delete("/v1/detectors/new").status_code == 204
    assert client.delete("/v1/detectors/new").status_code == 404
    assert (
        client.post("/v1/score", files=form(files[5]), data={"detector": "new"}).status_code == 404
    )
    assert 'detector="new"' not in client.get("/metrics").text


def test_few_normals_make_one_without_a_threshold(serve, memory, files, form):
    client = serve({"line": memory})
    made = client.post("/v1/detectors", files=form(*files[:3]), data={"name": "few"})
    assert (made.status_code, made.json()["threshold"]) == (201, None)


def test_what_cannot_be_made(serve, memory, files, form, monkeypatch):
    client = serve({"line": memory})

    def post(*contents, **fields):
        return client.post("/v1/detectors", files=form(*contents), data=fields)

    assert post(files[0], name="line").status_code == 409
    for name in ("../x", ".hidden", "a b", "a/b", "x" * 65, "<b>"):
        assert post(files[0], name=name).status_code == 422
        assert client.delete(f"/v1/detectors/{name.replace('/', '%2F')}").status_code in (404, 422)
    assert post(files[0]).status_code == 422
    assert post(files[0], name="a", head="adaclip").status_code == 422
    bad = post(files[0], b"no image", name="a")
    assert (bad.status_code, "cannot read 1.png" in bad.json()["detail"]) == (422, True)
    assert post(files[0], name="a", k_shot=2).status_code == 422
    monkeypatch.setattr(routes, "MAX_NORMALS", 2)
    assert post(*files[:3], name="a").status_code == 413
    assert len(client.get("/v1/detectors").json()["detectors"]) == 1
    assert client.delete("/v1/detectors/line").status_code == 409


def test_one_deleted_while_it_is_asked_answers_and_leaves_no_counts(
    serve, memory, slow, files, form, eventually
):
    client = serve({"line": memory, "gone": slow}, made=["gone"])
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(
            client.post, "/v1/score", files=form(files[0]), data={"detector": "gone"}
        )
        eventually(slow.began.is_set)
        assert client.delete("/v1/detectors/gone").status_code == 204
        slow.go.set()
        assert asked.result().status_code == 200
    assert "gone" not in client.get("/metrics").text


def test_no_more_than_so_many_are_made(serve, memory, files, form, monkeypatch):
    from vlad.serving import detectors

    monkeypatch.setattr(detectors, "MAX_MADE", 1)
    client = serve({"line": memory})
    statuses = [
        client.post("/v1/detectors", files=form(files[0]), data={"name": name}).status_code
        for name in ("a", "b")
    ]
    assert statuses == [201, 409]


def test_words_are_not_collected_without_end(serve, words, files, form, monkeypatch):
    from vlad.serving import detectors

    monkeypatch.setattr(detectors, "MAX_CATEGORIES", 2)
    client = serve({"words": words})
    statuses = [
        client.post("/v1/score", files=form(files[0]), data={"category": word}).status_code
        for word in ("a nut", "a bolt", "a nut", "a cable")
    ]
    assert statuses == [200, 200, 200, 422]


def test_detectors_of_one_backbone_share_it(memory, small_file, drawn, tmp_path):
    other = vlad.load("memory", backbone=str(small_file), device="cpu").fit(drawn[:1])
    other = vlad.Detector.load(other.save(tmp_path))
    make_ready([Served("a", memory), Served("b", other)])
    assert other.backbone_ is memory.backbone_


def test_a_region_of_interest_is_served_and_kept_by_those_made_here(
    small_file, drawn, serve, files, form
):
    mask = np.zeros(drawn[0].size[::-1], bool)
    mask[:20] = True
    region = RegionOfInterest.of(mask)
    own = vlad.load("memory", backbone=str(small_file), device="cpu", roi=region).fit(drawn[:1])
    client = serve({"line": own})
    assert client.post("/v1/detectors", files=form(files[0]), data={"name": "new"}).is_success
    score = own.score(drawn[0]).image_score[0]
    for name in ("line", "new"):
        reply = client.post("/v1/score", files=form(files[0]), data={"detector": name})
        found = reply.json()["images"][0]
        assert found["image_score"] == pytest.approx(score, abs=1e-6)
        reply = client.post("/v1/score", files=form(files[4]), data={"detector": name})
        assert "other proportions" in reply.text


def test_a_head_that_judges_lists_is_not_served(small_file):
    judge = vlad.load("musc", backbone=str(small_file), device="cpu")
    with pytest.raises(HeadError, match="vlad fit"):
        make_ready([Served("pool", judge)])


def test_a_detector_that_cannot_score_is_one_sentence(memory, tmp_path):
    folder = memory.save(tmp_path)
    settings = json.loads((folder / "detector.json").read_text())
    del settings["files"]  # as an earlier version saved it, or whoever made it on purpose
    (folder / "detector.json").write_text(json.dumps(settings))
    save_file({"1": torch.zeros(2, 2)}, folder / "memory.safetensors")
    with pytest.raises(HeadError, match="what it learned does not fit"):
        make_ready([Served("a", vlad.Detector.load(folder))])


def test_names(tmp_path, memory):
    folder = tmp_path / "bottle"
    assert named(str(folder)) == ("bottle", folder)
    assert named(f"line={folder}") == ("line", folder)
    (tmp_path / "a=b").mkdir()
    assert named(str(tmp_path / "a=b")) == ("a=b", tmp_path / "a=b")
    with pytest.raises(InputError, match="bottle=FOLDER"):
        Store([Served("a=b", memory)])
    with pytest.raises(InputError, match="Two detectors"):
        Store([Served("a", memory), Served("a", memory)])
