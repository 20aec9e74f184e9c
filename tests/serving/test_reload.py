"""A detector is loaded again without a request that fails."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

import vlad
from vlad.errors import BackboneError
from vlad.serving.detectors import Served, make_ready

RELOAD = "/v1/detectors/line/reload"


@pytest.fixture
def folder(memory, tmp_path):
    return memory.save(tmp_path / "line")


@pytest.fixture
def client(serve, folder, words):
    load = partial(vlad.Detector.load, folder)
    return serve({"line": load(), "words": words}, loads={"line": load}, batch_size=1)


def test_the_new_one_takes_the_place_of_the_old(client, folder, small_file, drawn, files, form):
    own = vlad.load("memory", backbone=str(small_file), device="cpu").fit(drawn[3])
    own.save(folder)
    assert client.get("/v1/detectors").json()["detectors"][0]["threshold"] is not None
    reply = client.post(RELOAD)
    assert reply.status_code == 200
    assert (reply.json()["name"], reply.json()["threshold"]) == ("line", None)
    found = client.get("/v1/detectors").json()["detectors"]
    assert [one["name"] for one in found] == ["line", "words"]
    scored = client.post("/v1/score", files=form(files[0])).json()  # the first is the default
    assert scored["images"][0]["image_score"] == pytest.approx(
        own.score(drawn[0]).image_score[0], abs=1e-6
    )


def test_a_folder_that_cannot_be_used_leaves_the_old_one(client, folder, small_file, files, form):
    before = client.post("/v1/score", files=form(files[5])).json()
    settings = (folder / "detector.json").read_text()
    judge = vlad.load("musc", backbone=str(small_file), device="cpu")
    for damage, why in (
        (lambda: (folder / "detector.json").write_text(settings[:50]), "no saved detector"),
        (lambda: (folder / "memory.safetensors").write_bytes(b""), "no saved detector"),
        (lambda: judge.save(folder), "judges a list of images jointly"),
    ):
        damage()
        reply = client.post(RELOAD)
        assert (reply.status_code, why in reply.json()["detail"]) == (422, True), reply.text
        assert client.post("/v1/score", files=form(files[5])).json() == before


def test_only_those_with_a_folder_are_reloaded(client, files, form):
    assert client.post("/v1/detectors", files=form(files[0]), data={"name": "new"}).is_success
    for name, status in (("words", 409), ("new", 409), ("other", 404), ("a b", 422)):
        reply = client.post(f"/v1/detectors/{name}/reload")
        assert (reply.status_code, reply.json()["detail"][-1]) == (status, "."), name


def test_requests_in_progress_finish_with_the_old_one(
    serve, slow, memory, files, form, drawn, eventually
):
    client = serve({"line": slow}, loads={"line": lambda: memory}, batch_size=1)
    with ThreadPoolExecutor() as pool:
        begun = pool.submit(client.post, "/v1/score", files=form(files[0]))
        eventually(slow.began.is_set)
        assert client.post(RELOAD).is_success
        later = pool.submit(client.post, "/v1/score", files=form(files[0]))
        slow.go.set()
        (old,), (new,) = (one.result().json()["images"] for one in (begun, later))
    assert (old["image_score"], old["verdict"]) == (drawn[0].getpixel((0, 0))[0], None)
    assert new["image_score"] == pytest.approx(memory.score(drawn[0]).image_score[0], abs=1e-6)
    assert new["verdict"] == "normal"
    text = client.get("/metrics").text
    for outcome in ("scored", "normal"):
        assert f'vlad_images_total{{detector="line",outcome="{outcome}"}} 1.0' in text


def test_a_backbone_is_shared_if_it_is_the_one_it_was_saved_with(folder, memory):
    ready, fresh = Served("a", memory), Served("a", vlad.Detector.load(folder))
    make_ready([fresh], among=[ready])
    assert fresh.detector.backbone_ is memory.backbone_
    settings = folder / "detector.json"
    settings.write_text(settings.read_text().replace(memory.weights_, "0" * 16))
    other = Served("a", vlad.Detector.load(folder))
    with pytest.raises(BackboneError, match="not those that this detector was saved with"):
        make_ready([other], among=[ready])
