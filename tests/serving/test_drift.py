"""Drift in the service: what it says of detectors, and its metrics."""

from __future__ import annotations

import io
import re

import pytest
from waves import waves

import vlad
from vlad.calibration import Calibration


def encoded(image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def line(small_file):
    """A detector calibrated on 50 good images, which all have the same name, as uploads may."""
    normals = list(waves(50, 1))
    for image in normals:
        vars(image)["filename"] = "image.png"
    made = vlad.load("memory", backbone=str(small_file), device="cpu")
    return made.fit(waves(5, 9)).calibrate(normals)


def metric(client, name, part):
    text = client.get("/metrics").text
    found = re.search(rf'^{name}{{detector="line",part="{part}"}} (\S+)$', text, re.M)
    return found and float(found[1])


def shown(client):
    return client.get("/v1/detectors").json()["detectors"][0]["drift"]


def test_the_service_says_that_images_became_darker(serve, line, form):
    client = serve({"line": line})
    assert shown(client)["images"] == 0 and shown(client)["moved"] == []
    assert metric(client, "vlad_drift", "brightness") is None
    for images in (waves(13, 2), waves(12, 3)):
        assert client.post("/v1/score", files=form(*map(encoded, images))).status_code == 200
    assert shown(client)["sentence"].startswith("No drift: the last 25 images")
    assert metric(client, "vlad_drift", "brightness") == 0
    assert 0 < metric(client, "vlad_drift_p_value", "memory") <= 1
    for seed in (4, 5):
        images = waves(13, seed, light=0.7)
        assert client.post("/v1/score", files=form(*map(encoded, images))).status_code == 200
    assert "brightness" in shown(client)["moved"] and "darker" in shown(client)["sentence"]
    assert metric(client, "vlad_drift", "brightness") == 1


def test_a_deleted_detector_has_no_drift(serve, line, form):
    client = serve({"other": line, "line": line}, made=("line",))
    files = form(*map(encoded, waves(25, 2)))
    assert client.post("/v1/score", files=files, data={"detector": "line"}).status_code == 200
    assert metric(client, "vlad_drift", "memory") is not None
    assert client.delete("/v1/detectors/line").status_code == 204
    assert metric(client, "vlad_drift", "memory") is None


def test_a_threshold_without_good_images_says_so(serve, small_file, drawn):
    made = vlad.load("memory", backbone=str(small_file), device="cpu").fit(drawn[:2])
    assert shown(serve({"line": made})) is None
    made.calibration_ = Calibration.fixed("memory", 0.5)
    sentence = shown(serve({"line": made}))["sentence"]
    assert "Drift cannot be told: the threshold is a number" in sentence


def test_images_of_one_name_are_known_apart(line):
    assert len(set(line.calibration_.drift.brightness)) == 50


def test_a_detector_that_was_reloaded_knows_no_drift_yet(serve, line, form):
    client = serve({"line": line}, loads={"line": lambda: line})
    assert client.post("/v1/score", files=form(*map(encoded, waves(25, 2)))).is_success
    assert metric(client, "vlad_drift", "brightness") == 0
    assert client.post("/v1/detectors/line/reload").is_success
    assert metric(client, "vlad_drift", "brightness") is None
    assert shown(client)["images"] == 0
