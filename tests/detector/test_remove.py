"""Taking single images out of a fitted detector."""

import numpy as np
import pytest
import torch
from same_scores import same

import vlad
from vlad.errors import HeadError, InputError
from vlad.heads import load_head
from vlad.types import Features


def made(small_file, small_adapter, head, **options):
    options = {"backbone": str(small_file), "device": "cpu", "category": "nut", **options}
    if head in ("april_gan", "uniadet", "sowa", "adaptclip"):
        options["adapter"] = small_adapter(head)
    return vlad.load(head, **options)


@pytest.mark.parametrize(
    ("head", "options"),
    [
        ("memory", {}),
        ("memory", {"rotations": 3, "join": True}),
        ("anomalydino", {}),
        ("labelled", {}),
        ("winclip", {}),
        ("laft", {}),
        ("april_gan", {}),
        ("uniadet", {}),
        ("sowa", {}),
        ("adaptclip", {}),
    ],
    ids=str,
)
def test_it_equals_a_fit_without_them(small_file, small_adapter, drawn, head, options):
    others = [drawn[0], drawn[2], drawn[4]]
    expected = made(small_file, small_adapter, head, **options).fit(others)
    found = made(small_file, small_adapter, head, **options).fit(drawn[:5]).remove([3, 1])
    assert list(found.head_.memory_) == list(expected.head_.memory_)
    for name, rows in expected.head_.memory_.items():
        torch.testing.assert_close(found.head_.memory_[name], rows, atol=1e-5, rtol=0)
    scores, wanted = found.score(drawn), expected.score(drawn)
    np.testing.assert_allclose(scores.image_score, wanted.image_score, atol=1e-5)
    np.testing.assert_allclose(scores.anomaly_map, wanted.anomaly_map, atol=1e-5)


def test_after_it_images_can_be_added_removed_and_saved(detector, drawn, tmp_path):
    whole = detector.score(drawn)
    detector.partial_fit(drawn[2:4]).remove([2]).remove([2])
    same(detector.score(drawn), whole)
    detector.partial_fit(drawn[2:3])
    again = vlad.Detector.load(detector.save(tmp_path / "saved")).remove([2])
    same(again.score(drawn), whole)


def test_what_it_says_it_learned_from_is_what_is_left(detector, images):
    files = sorted(images.iterdir())
    detector.fit(files[:3]).remove([1])
    assert list(detector.learned_) == [str(files[0]), str(files[2])]


def test_known_defects_stay():
    head = load_head("labelled")
    rows = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    features = Features(None, {1: rows}, (2, 2), (8, 8))
    head.fit(features).fit_known(features.at(0), torch.ones(1, 4), ["dent"])
    assert head.rows_of_images == ["1"] and head.known == ["dent"]


def test_a_threshold_is_dropped_with_a_warning(detector, drawn):
    detector.calibrate(drawn[2:], false_alarms=0.3)
    with pytest.warns(UserWarning, match="call `calibrate` again"):
        detector.remove([0])
    with pytest.raises(InputError, match="call `calibrate`"):
        detector.predict(drawn)


def test_a_removed_image_is_no_copy_of_those_left(detector, drawn):
    detector.remove([0]).calibrate([drawn[0], *drawn[2:]], false_alarms=0.3)
    assert not detector.calibration_.notes


@pytest.mark.parametrize(
    ("head", "options"),
    [
        ("patchcore", {}),
        ("memory", {"coreset": 0.5}),
        ("memory", {"mask": "grid", "mask_references": True}),
        ("mvg", {}),
        ("subspace", {"rotations": 0}),
        ("visual_words", {}),
        ("musc", {}),
    ],
    ids=str,
)
def test_heads_that_do_not_keep_images_apart(small_file, small_adapter, drawn, head, options):
    fitted = made(small_file, small_adapter, head, **options).fit(drawn[:4])
    with pytest.raises(HeadError, match=f"Head {head} cannot take single images out"):
        fitted.remove([0])


def test_what_cannot_be_removed(detector, drawn, small_file):
    before = detector.score(drawn)
    for places, words in (
        ([2], "no normal image 2: the detector was shown 2"),
        ([-1], "no normal image -1"),
        ([0.5], "no normal image 0.5"),
        ([], "0 of 2 normal images"),
        ([0, 1, 1], "2 of 2 normal images"),
    ):
        with pytest.raises(InputError, match=words):
            detector.remove(places)
    same(detector.score(drawn), before)
    tiled = vlad.load("memory", backbone=str(small_file), device="cpu", tile=64).fit(drawn[:2])
    with pytest.raises(HeadError, match="cannot be told apart"):
        tiled.remove([0])
    with pytest.raises(HeadError, match="compares with normal images"):
        vlad.load("memory", backbone=str(small_file), device="cpu").remove([0])
