"""Boxes of a model for zero-shot object detection, against transformers itself."""

import shutil
from types import SimpleNamespace

import box_models
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from vlad.backbones.transformers.boxes import BoxModel
from vlad.errors import BackboneError

PHRASES = ["dirt inside", "broken"]


@pytest.fixture(scope="module")
def image():
    values = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    return Image.fromarray(values)


@pytest.fixture(scope="module")
def owl(tmp_path_factory):
    return box_models.owlv2(tmp_path_factory.mktemp("owl"))


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    return box_models.grounding_dino(tmp_path_factory.mktemp("dino"))


def scripted(model, monkeypatch, *found):
    """Let the model find boxes (score, left, top, right, bottom) of an image of 100×100 pixels."""
    scores = torch.tensor([[row[0]] for row in found])
    corners = torch.tensor([row[1:] for row in found])
    middle, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    output = SimpleNamespace(
        logits=torch.logit(scores)[None], pred_boxes=torch.cat([middle, size], dim=1)[None]
    )
    monkeypatch.setattr(model, "model", lambda **inputs: output)


def test_owlv2_finds_what_the_pipeline_of_transformers_finds(owl, image):
    pipeline = transformers.pipeline("zero-shot-object-detection", str(owl), device="cpu")
    reference = pipeline(image, candidate_labels=PHRASES, threshold=0.0)
    found = BoxModel(str(owl)).find(image, PHRASES)
    assert {box.phrase for box in found} == set(PHRASES)
    sides = (60, 40, 60, 40)
    for box in found:
        near = [
            (one["score"], one["label"])
            for one in reference
            # its pixels are whole, and may lie outside of the image
            for at in [np.clip(list(one["box"].values()), 0, sides)]
            if np.abs(at - np.array(box.edges) * sides).max() < 1.001
        ]
        assert any(abs(s - box.score) < 1e-5 and p == box.phrase for s, p in near)


def test_grounding_dino_scores_a_phrase_by_its_surest_token(dino, image):
    model = BoxModel(str(dino))
    found = {box.edges: box for box in model.find(image, PHRASES)}
    read = transformers.AutoProcessor.from_pretrained(dino)
    inputs = read(images=image, text="dirt inside. broken.", return_tensors="pt")
    with torch.no_grad():
        out = transformers.GroundingDinoForObjectDetection.from_pretrained(
            dino, attn_implementation="eager"
        )(**inputs)
    chances = out.logits[0].sigmoid()
    # start, dirt, inside, stop, broken, stop, end
    scores = torch.stack([chances[:, 1:3].amax(dim=1), chances[:, 4]], dim=1)
    middle, size = out.pred_boxes[0].split(2, dim=1)
    corners = torch.cat([middle - size / 2, middle + size / 2], dim=1)
    assert len(found) > 3
    for box in found.values():
        row = (corners - torch.tensor(box.edges)).abs().amax(dim=1).argmin()
        assert torch.allclose(corners[row], torch.tensor(box.edges), atol=1e-5)
        assert box.score == pytest.approx(float(scores[row].max()), abs=1e-5)
        assert box.phrase == PHRASES[int(scores[row].argmax())]


def test_sure_and_small_boxes_are_kept(owl, monkeypatch):
    model = BoxModel(str(owl))
    scripted(
        model,
        monkeypatch,
        (0.26, 0.0, 0.0, 0.5, 0.5),
        (0.24, 0.0, 0.0, 0.2, 0.2),
        (0.90, 0.0, 0.0, 0.9, 0.8),
        (0.50, 0.1, 0.1, 0.9, 0.9),
    )
    found = model.find(Image.new("RGB", (100, 100)), ["rust"])
    assert [round(box.score, 2) for box in found] == [0.26, 0.5]
    assert found[1].edges == pytest.approx((0.1, 0.1, 0.9, 0.9))
    assert found[1].phrase == "rust"


def test_without_a_sure_and_small_box_the_surest_is_kept(owl, monkeypatch):
    model = BoxModel(str(owl))
    scripted(model, monkeypatch, (0.1, 0, 0, 0.2, 0.2), (0.2, 0, 0, 0.3, 0.3))
    (found,) = model.find(Image.new("RGB", (100, 100)), ["rust"])
    assert found.score == pytest.approx(0.2)
    scripted(model, monkeypatch, (0.1, 0, 0, 0.2, 0.2), (0.6, -0.1, 0.0, 1.0, 0.9))
    (found,) = model.find(Image.new("RGB", (100, 100)), ["rust"])
    assert found.edges == pytest.approx((0.0, 0.0, 1.0, 0.9))


def test_a_box_in_what_pads_the_image_is_left_out(owl, monkeypatch):
    model = BoxModel(str(owl))
    # OWLv2 fills an image of 100×50 up to a square
    scripted(model, monkeypatch, (0.9, 0, 0.6, 0.2, 0.8), (0.5, 0, 0.1, 0.2, 0.2))
    (found,) = model.find(Image.new("RGB", (100, 50)), ["rust"])
    assert found.edges == pytest.approx((0.0, 0.2, 0.2, 0.4))


def test_the_identity_changes_with_a_weight(owl, tmp_path):
    other = box_models.owlv2(tmp_path / "other", seed=1)
    same = shutil.copytree(owl, tmp_path / "same")
    hashes = [BoxModel(str(x)).identity.rpartition("@")[2] for x in (owl, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("kind", ["owl", "dino"])
def test_more_words_than_it_reads_are_refused(kind, request, image):
    model = BoxModel(str(request.getfixturevalue(kind)))
    with pytest.raises(BackboneError, match=r"reads \d+ tokens, and 'dirt dirt .* has \d+"):
        model.find(image, ["dirt " * 40])


def test_what_is_no_such_model_is_refused(owl, tmp_path):
    with pytest.raises(BackboneError, match=r"no config\.json"):
        BoxModel(str(tmp_path))
    config = transformers.CLIPVisionConfig()
    config.save_pretrained(tmp_path / "clip")
    with pytest.raises(BackboneError, match="'clip_vision_model', which finds no boxes by words"):
        BoxModel(str(tmp_path / "clip"))
    with pytest.raises(BackboneError, match=r"network is forbidden.*--boxes-model"):
        BoxModel("nobody/detects-nothing")
    broken = shutil.copytree(owl, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match="cannot be read"):
        BoxModel(str(broken))
