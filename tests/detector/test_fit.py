"""What a detector learns: fit, partial_fit, calibrate."""

import pickle

import numpy as np
import pytest
import torch
from same_scores import same

import vlad
from vlad.errors import HeadError, InputError
from vlad.heads.memory import Memory
from vlad.heads.memory_gather import ORIGIN, layers_of


def test_verdicts_of_a_calibrated_detector(detector, drawn, tmp_path):
    with pytest.raises(InputError, match="call `calibrate`"):
        detector.predict(drawn)
    turned = [image.rotate(angle) for image in drawn[:4] for angle in range(5, 95, 15)]
    with pytest.raises(InputError, match="got 24"):
        detector.calibrate(turned, false_alarms=0.01)
    detector.calibrate(turned, false_alarms=0.1)
    found = detector.predict(turned)
    assert found.anomalous.sum() == 1  # floor(0.1 · 25) - 1 of the reference itself
    assert (found.image_score == detector.score(turned).image_score).all()
    detector.save(tmp_path / "saved")
    again = vlad.Detector.load(tmp_path / "saved")
    assert (again.predict(drawn).p_value == detector.predict(drawn).p_value).all()
    batch = pickle.loads(pickle.dumps(again))({"image": drawn, "name": list("abcdef")})
    assert batch["anomalous"].tolist() == detector.predict(drawn).anomalous.tolist()
    assert batch["anomaly_map"].shape == (6, 64, 64) and batch["name"] == list("abcdef")
    vlad.load("memory", backbone=detector.backbone).fit(drawn[:2]).save(tmp_path / "saved")
    assert not hasattr(vlad.Detector.load(tmp_path / "saved"), "calibration_")


def test_a_transductive_head_has_no_threshold_for_others(small_file, drawn):
    made = vlad.load("musc", backbone=str(small_file), device="cpu")
    with pytest.raises(HeadError, match="reference pool first"):
        made.calibrate(drawn)
    made.fit(drawn[:3]).calibrate(drawn[3:], false_alarms=0.3)
    assert len(made.predict(drawn)) == 6


def test_fit_forgets_what_was_learned_before(detector, drawn, small_file, tmp_path):
    detector.calibrate(drawn[2:], false_alarms=0.3)
    detector.fit(drawn[3:5])
    fresh = vlad.load("memory", backbone=str(small_file), device="cpu", layers=(1, 3))
    same(detector.score(drawn), fresh.fit(drawn[3:5]).score(drawn))
    with pytest.raises(InputError, match="call `calibrate`"):
        detector.predict(drawn)
    assert not (detector.save(tmp_path / "saved") / "calibration.json").exists()


@pytest.mark.parametrize("head", ["memory", "winclip", "april_gan"])
def test_partial_fit_adds_normal_images(small_file, small_adapter, drawn, head):
    options = {"backbone": str(small_file), "device": "cpu", "category": "nut"}
    if head == "april_gan":
        options |= {"adapter": small_adapter(head), "rescale": False}
    whole = vlad.load(head, **options).fit(drawn[:4])
    grown = vlad.load(head, **options).partial_fit(drawn[:1])
    grown.partial_fit(drawn[1:3]).partial_fit(drawn[3:4])
    found, expected = grown.score(drawn), whole.score(drawn)
    np.testing.assert_allclose(found.image_score, expected.image_score, atol=1e-6)
    np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, atol=1e-6)
    others = [*drawn[4:], drawn[0].rotate(180)]
    grown.calibrate(others, false_alarms=0.3).partial_fit(drawn[4:5])
    with pytest.raises(InputError, match="call `calibrate`"):
        grown.predict(drawn)
    few = vlad.load(head, **options).fit(drawn[:1]).score(drawn)
    assert (few.image_score != whole.score(drawn).image_score).any()


def test_partial_fit_with_a_coreset_keeps_the_union(small_file, drawn):
    options = {"backbone": str(small_file), "device": "cpu", "coreset": 0.5}
    parts = [vlad.load("patchcore", **options).fit(image).head_.memory_ for image in drawn[:2]]
    grown = vlad.load("patchcore", **options).fit(drawn[0]).partial_fit(drawn[1])
    memory = grown.head_.memory_
    for name in layers_of(memory):
        assert torch.equal(memory[name], torch.cat([part[name] for part in parts]))
        first, second = (part[name + ORIGIN] for part in parts)
        # (image, place) of each row: those of the second image are of image 1
        assert torch.equal(memory[name + ORIGIN], torch.cat([first, second + torch.tensor([1, 0])]))
        assert len(memory[name]) == len(memory[name + ORIGIN]) == 16


def test_heads_that_cannot_add_say_so(small_file, drawn):
    made = vlad.load("musc", backbone=str(small_file), device="cpu").fit(drawn[:3])
    with pytest.raises(HeadError, match="call `fit` with all images"):
        made.partial_fit(drawn[3:])


def test_features_are_what_the_head_sees(detector, drawn, images):
    found = detector.features(images)
    assert {n: tuple(x.shape) for n, x in found.patches.items()} == {
        1: (6, 16, 128),
        3: (6, 16, 128),
    }
    assert found.grid == (4, 4) and not found.patches[1].requires_grad
    scores = detector.head_.score(found)
    np.testing.assert_allclose(scores.image_score, detector.score(drawn).image_score, atol=1e-6)
    alike = detector.features([detector.prepare(image) for image in drawn])
    assert torch.equal(alike.patches[3], found.patches[3])
    detector.batch_size = 4
    torch.testing.assert_close(detector.features(drawn).patches[3], found.patches[3])


def test_a_head_as_an_instance(detector, drawn, tmp_path):
    from sklearn.base import clone

    head = Memory(layers=(1, 3))
    for made in (vlad.load(head, backbone=detector.backbone), clone(vlad.Detector(head))):
        made.backbone_ = detector.backbone_
        same(made.fit(drawn[:2]).score(drawn), detector.score(drawn))
        assert not head.fitted  # a copy learns
        assert made.calibrate(drawn[2:], 0.3).predict(drawn).anomalous.shape == (6,)
    with pytest.raises(HeadError, match="no name that another program can find"):
        made.save(tmp_path)
    with pytest.raises(HeadError, match="temperature"):
        vlad.load(head, temperature=1)
    fitted = vlad.Detector(detector.head_)
    fitted.backbone_ = detector.backbone_
    same(fitted.score(drawn), detector.score(drawn))
    same(fitted.partial_fit(drawn[2:4]).score(drawn), detector.fit(drawn[:4]).score(drawn))
