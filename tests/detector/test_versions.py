"""A saved detector replaced as a whole: earlier versions stay, and a kill loses nothing."""

import json
import os
import shutil

import numpy as np
import pytest

import vlad
from vlad.detector.replacing import VERSIONS, numbers
from vlad.detector.versions import read_version, restore_version
from vlad.errors import InputError, OutputError


@pytest.fixture
def saved(detector, drawn, tmp_path):
    detector.calibrate(drawn[2:5], 0.3)
    return detector.save(tmp_path / "saved")


@pytest.fixture
def other(saved, drawn):
    """The same detector with one more image, and without a threshold."""
    return vlad.Detector.load(saved).partial_fit([drawn[5]])


def content(folder):
    """Relative path -> bytes of what a detector is."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in (VERSIONS, ".lock")
    }


def test_what_was_replaced_is_a_version(saved, other, drawn):
    before, scores = content(saved), vlad.Detector.load(saved).score(drawn).image_score
    assert other.replace(saved) == 1
    assert content(saved / VERSIONS / "1") == before
    assert set(content(saved)) == {"detector.json", "memory.safetensors"}
    np.testing.assert_array_equal(
        vlad.Detector.load(saved).score(drawn).image_score, other.score(drawn).image_score
    )
    np.testing.assert_array_equal(
        vlad.Detector.load(saved / VERSIONS / "1").score(drawn).image_score, scores
    )
    assert {path.name for path in (saved / VERSIONS).iterdir()} == {"1"}


def test_a_restored_version_is_what_it_was_and_can_be_left_again(saved, other):
    before = content(saved)
    other.replace(saved)
    replaced = content(saved)
    assert restore_version(saved) == (1, 2)
    assert content(saved) == before
    assert restore_version(saved, 2) == (2, 3)
    assert content(saved) == replaced
    found = [read_version(saved, number) for number in numbers(saved)]
    assert [(x.number, x.learned, x.calibration is None) for x in found] == [
        (1, 2, False),
        (2, 3, True),
        (3, 2, False),
    ]
    assert found[0].time == found[2].time


def test_versions_that_do_not_exist_or_are_damaged(saved, other):
    with pytest.raises(OutputError, match="keeps no earlier version"):
        restore_version(saved)
    other.replace(saved)
    with pytest.raises(OutputError, match=r"keeps no version 7; choose from 1\."):
        restore_version(saved, 7)
    now = content(saved)
    (saved / VERSIONS / "1" / "memory.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match=r"was not saved with this memory\.safetensors"):
        restore_version(saved)
    assert content(saved) == now


class Killed(BaseException):
    pass


def test_a_kill_at_any_step_leaves_one_or_the_other(saved, other, tmp_path, monkeypatch):
    """Each call that changes a file is the last one once."""
    expected = [content(saved)]
    whole = shutil.copytree(saved, tmp_path / "whole")
    other.replace(whole)
    expected.append(content(whole))
    ends, place = [], 0
    while True:
        folder = shutil.copytree(saved, tmp_path / f"killed{place}")
        calls = iter(range(place))
        with monkeypatch.context() as patch:
            for name in ("replace", "link", "unlink", "rmdir"):
                patch.setattr(os, name, counted(getattr(os, name), calls))
            try:
                other.replace(folder)
                break
            except Killed:
                pass
        vlad.Detector.load(folder)
        ends.append(expected.index(content(folder)))
        kept = [p for p in (folder / VERSIONS).glob("[0-9]*")] if ends[-1] else []
        assert all(content(path) == expected[0] for path in kept)
        assert len(kept) == ends[-1]
        other.replace(folder)  # nothing that was left is in the way
        assert content(folder) == expected[1]
        place += 1
    assert place > 10 and set(ends) == {0, 1} and ends == sorted(ends)


def counted(function, calls):
    def call(*args, **options):
        if next(calls, None) is None:
            raise Killed
        return function(*args, **options)

    return call


def test_the_weights_inside_stay(small_file, drawn, tmp_path):
    made = vlad.load("memory", backbone=str(small_file), device="cpu").fit(drawn[:2])
    folder = made.save(tmp_path / "saved", with_weights=True)
    (weights,) = (folder / "weights").iterdir()
    found = vlad.Detector.load(folder).partial_fit([drawn[2]])
    expected = found.score(drawn).image_score
    found.replace(folder)
    assert weights.samefile(folder / VERSIONS / "1" / "weights" / weights.name)
    moved = folder.rename(tmp_path / "moved")
    loaded = vlad.Detector.load(moved)
    assert str(moved / "weights") in loaded.backbone
    np.testing.assert_array_equal(loaded.score(drawn).image_score, expected)
    restore_version(moved)
    assert len(vlad.Detector.load(moved).learned_) == 2


def test_a_folder_that_holds_no_detector_is_not_replaced(other, tmp_path):
    with pytest.raises(InputError, match="no saved detector"):
        other.replace(tmp_path)
    assert not (tmp_path / VERSIONS).exists()


def test_a_threshold_that_did_not_arrive_is_missed_in_a_folder_of_an_earlier_version(saved):
    settings = json.loads((saved / "detector.json").read_text())
    del settings["files"]
    (saved / "detector.json").write_text(json.dumps({**settings, "calibrated": True}))
    assert vlad.Detector.load(saved).calibration_
    (saved / "calibration.json").unlink()
    with pytest.raises(InputError, match=r"lacks calibration\.json, as if it was copied in part"):
        vlad.Detector.load(saved)


def test_a_detector_that_another_command_replaced_is_not_replaced_unseen(saved, other, drawn):
    mine = vlad.Detector.load(saved)
    other.replace(saved)
    now = content(saved)
    with pytest.raises(OutputError, match="was replaced since it was loaded"):
        mine.replace(saved)
    assert content(saved) == now
    assert numbers(saved) == [1]
    assert other.replace(saved) == 2  # what is there is its own
    mine.save(saved.parent / "elsewhere")
    fitted = vlad.load("memory", backbone=mine.backbone, device="cpu").fit(drawn[:1])
    assert fitted.replace(saved) == 3  # asked for, whatever is there


def test_a_detector_replaced_while_it_is_read_is_read_again(saved, other, monkeypatch):
    from vlad.detector import saved as module

    load, calls = module.load_calibration, []

    def replaced_before(file):
        calls.append(file)
        if len(calls) == 1:
            other.replace(saved)
        return load(file)

    monkeypatch.setattr(module, "load_calibration", replaced_before)
    found = vlad.Detector.load(saved)
    assert calls and not hasattr(found, "calibration_") and len(found.learned_) == 3
