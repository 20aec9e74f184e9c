"""POST /v1/explain: the reasons of the detector, limits, and scoring that goes on beside it."""

import base64
import io
from threading import Event, Thread

import pytest
from PIL import Image

from vlad.detector import Detector


@pytest.fixture
def client(serve, memory, words):
    return serve({"line": memory, "words": words}, queue=8)


def test_the_reply_is_what_the_detector_says(client, files, form, memory, drawn):
    reply = client.post("/v1/explain", files=form(*files[4:6]))
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert (found["detector"], found["head"], found["category"]) == ("line", "memory", None)
    for one, image, name in zip(found["images"], drawn[4:6], ("0.png", "1.png"), strict=True):
        expected = memory.explain(image)
        assert one["name"] == name and one["error"] is None
        assert one["size"] == list(image.size)
        assert one["image_score"] == pytest.approx(expected.image_score, rel=1e-5)
        assert len(one["regions"]) == len(expected.regions) > 0
        for region, own in zip(one["regions"], expected.regions, strict=True):
            assert region["place"] == own.place
            assert region["share"] == pytest.approx(own.share, rel=1e-4)
            with Image.open(io.BytesIO(base64.b64decode(region["crop"]))) as crop:
                assert crop.size == own.crop.size
            # it was fitted on images that are no files
            assert region["reference_crop"] is None and region["reference_note"]


def test_reference_images_go_by_their_file_names(serve, images, small_file, files, form):
    fitted = Detector("memory", backbone=str(small_file), device="cpu").fit(images / "0.png")
    reply = serve({"line": fitted}).post("/v1/explain", files=form(files[5]))
    assert str(images) not in reply.text
    (one,) = reply.json()["images"]
    for region in one["regions"]:
        assert region["reference"] == "0.png" and "0.png" in region["texts"][0]
        assert Image.open(io.BytesIO(base64.b64decode(region["reference_crop"]))).format == "JPEG"


def test_a_body_that_is_an_image(client, files, form):
    in_form = client.post("/v1/explain", files=form(files[5]), data={"detector": "line"}).json()
    reply = client.post(
        "/v1/explain?detector=line", content=files[5], headers={"Content-Type": "image/png"}
    )
    assert reply.json()["images"][0]["regions"] == in_form["images"][0]["regions"]


def test_the_category_is_that_of_the_request(client, files, form):
    asked = {"detector": "words", "category": "cable"}
    reply = client.post("/v1/explain", files=form(files[5]), data=asked)
    assert reply.status_code == 200, reply.text
    assert reply.json()["category"] == "cable"


def test_images_that_cannot_be_used_are_told_one_by_one(client, files, form):
    reply = client.post("/v1/explain", files=form(b"no image", files[5]))
    bad, good = reply.json()["images"]
    assert bad["error"].startswith("cannot read 0.png") and bad["regions"] is None
    assert good["error"] is None and good["regions"]
    reply = client.post("/v1/explain", files=form(b"no image", b""))
    assert reply.status_code == 422 and "None of the 2 images" in reply.json()["detail"]


def test_limits_are_those_of_scoring(client, files, form):
    missing = client.post("/v1/explain", files=form(files[0]), data={"detector": "none"})
    assert missing.status_code == 404
    most = client.get("/v1/detectors").json()["limits"]["images"]
    many = client.post("/v1/explain", files=form(*[files[0]] * (most + 1)))
    assert many.status_code == 413 and f"at most {most}" in many.json()["detail"]


def test_what_cannot_be_explained_is_told_in_a_sentence(serve, drawn, small_file, files, form):
    cut = Detector("memory", backbone=str(small_file), device="cpu", tile=64).fit(drawn[:2])
    reply = serve({"cut": cut}).post("/v1/explain", files=form(files[5]))
    assert reply.status_code == 422 and "tile" in reply.json()["detail"]


def test_scoring_goes_on_while_an_image_is_explained(
    client, files, form, memory, monkeypatch, eventually
):
    explain, began, go = Detector.explain, Event(), Event()

    def slow(self, image, **options):
        began.set()
        assert go.wait(120)
        return explain(self, image, **options)

    monkeypatch.setattr(Detector, "explain", slow)
    replies = []

    def ask():
        replies.append(client.post("/v1/explain", files=form(files[5])))

    thread = Thread(target=ask)
    thread.start()
    try:
        assert began.wait(120)
        scored = client.post("/v1/score", files=form(*files[:3]))
        assert scored.status_code == 200 and not replies
        second = client.post("/v1/explain", files=form(files[4]))
        assert second.status_code == 429 and second.headers["Retry-After"]
    finally:
        go.set()
        thread.join()
    assert replies[0].status_code == 200
    eventually(lambda: client.post("/v1/explain", files=form(files[4])).status_code == 200)
