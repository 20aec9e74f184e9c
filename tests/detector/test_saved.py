"""A detector as a folder, and pickled."""

import json
import pickle

import pytest
from same_scores import same

import vlad
from vlad.errors import BackboneError, InputError
from vlad.results.shared import check_calibration


def as_earlier(folder):
    """Let a saved detector be one of an earlier version, which recorded none of its files."""
    settings = json.loads((folder / "detector.json").read_text())
    del settings["files"]
    (folder / "detector.json").write_text(json.dumps(settings))


def test_save_and_load(detector, drawn, tmp_path):
    detector.save(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {
        "detector.json",
        "memory.safetensors",
    }
    same(vlad.Detector.load(tmp_path / "saved").score(drawn), detector.score(drawn))
    with pytest.raises(InputError, match="no saved detector"):
        vlad.Detector.load(tmp_path)


def test_an_adapter_is_saved_with_the_detector(small_file, small_adapter, drawn, tmp_path):
    import shutil

    adapter = small_adapter("anomalyclip")
    options = {"backbone": str(small_file), "device": "cpu", "category": "nut"}
    made = vlad.load("anomalyclip", adapter=adapter, **options)
    expected = made.score(drawn)
    made.save(tmp_path / "saved")
    shutil.rmtree(adapter)
    (tmp_path / "saved").rename(tmp_path / "moved")
    same(vlad.Detector.load(tmp_path / "moved").score(drawn), expected)


BANK = """
title = "t"
source = "s"
licence = "CC0-1.0"
templates = ["a photo of {}."]
[states]
normal = ["flawless {}"]
anomalous = ["%s {}"]
"""


@pytest.fixture
def with_bank(small_file, tmp_path, monkeypatch):
    """A detector whose bank has a relative path, in a folder where it is found."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(BANK % "broken")
    return vlad.load(
        "winclip", bank="mine.toml", backbone=str(small_file), device="cpu", category="nut"
    )


@pytest.mark.parametrize("how", ["save", "pickle"])
@pytest.mark.parametrize("before", ["edited", "removed", "elsewhere"])
def test_the_bank_goes_with_the_detector(with_bank, drawn, tmp_path, monkeypatch, how, before):
    expected = with_bank.score(drawn)
    if before == "edited":  # after it was read: what was scored with is what is kept
        (tmp_path / "mine.toml").write_text(BANK % "fine")
    stored = with_bank.save(tmp_path / "saved") if how == "save" else pickle.dumps(with_bank)
    if before == "removed":
        (tmp_path / "mine.toml").unlink()
    if before == "elsewhere":
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        (tmp_path / "other" / "mine.toml").write_text(BANK % "fine")
    loaded = vlad.Detector.load(stored) if how == "save" else pickle.loads(stored)
    same(loaded.score(drawn), expected)
    same(vlad.Detector.load(loaded.save(tmp_path / "again")).score(drawn), expected)


def test_a_bank_that_is_edited_after_calibrate_changes_nothing(with_bank, drawn, tmp_path):
    with_bank.calibrate(drawn, 0.2)
    expected = with_bank.score(drawn)
    (tmp_path / "mine.toml").write_text(BANK % "fine")
    with_bank.max_pixels = 10**6  # a setting that has the panel made again
    same(with_bank.score(drawn), expected)


def test_the_default_bank_is_saved_too(small_file, drawn, tmp_path):
    made = vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")
    saved = made.save(tmp_path / "saved")
    text = (saved / "bank.toml").read_text(encoding="utf-8")
    (saved / "bank.toml").write_text(text.replace("damaged {}", "purple {}", 1), "utf-8")
    assert "damaged {}" in text
    with pytest.raises(InputError, match=r"was not saved with this bank\.toml"):
        vlad.Detector.load(saved)
    as_earlier(saved)
    found, expected = (x.score(drawn).image_score for x in (vlad.Detector.load(saved), made))
    assert (found != expected).all()


def test_a_backbone_of_a_relative_path_is_found_from_elsewhere(
    small_file, drawn, tmp_path, monkeypatch
):
    monkeypatch.chdir(small_file.parent)
    made = vlad.load("memory", backbone=small_file.name, device="cpu").fit(drawn[:2])
    saved, expected = made.save(tmp_path / "saved"), made.score(drawn)
    monkeypatch.chdir(tmp_path)
    same(vlad.Detector.load(saved).score(drawn), expected)


def test_other_weights_under_the_name_of_a_saved_backbone_are_refused(small_file, drawn, tmp_path):
    from safetensors.torch import load_file, save_file

    file = tmp_path / "mine.safetensors"
    tensors = load_file(small_file)
    save_file(tensors, file)
    made = vlad.load("memory", backbone=str(file), device="cpu").fit(drawn[:2])
    saved = made.save(tmp_path / "saved")
    save_file({**tensors, "visual.proj": 2 * tensors["visual.proj"]}, file)
    with pytest.raises(BackboneError, match="not those that this detector was saved with"):
        vlad.Detector.load(saved).score(drawn)


def test_pickle_leaves_the_backbone_behind(detector, drawn):
    data = pickle.dumps(detector)
    assert len(data) < 1_000_000
    same(pickle.loads(data).score(drawn), detector.score(drawn))


def test_partial_fit_of_a_saved_detector(detector, drawn, tmp_path):
    found = vlad.Detector.load(detector.save(tmp_path)).partial_fit(drawn[2:4])
    same(found.score(drawn), detector.partial_fit(drawn[2:4]).score(drawn))


def test_the_code_of_a_saved_head_is_not_run(detector, tmp_path):
    (tmp_path / "mine.py").write_text("raise SystemExit")
    detector.save(tmp_path)
    text = (tmp_path / "detector.json").read_text()
    text = text.replace('"memory"', f'"{tmp_path / "mine.py"}:Mine"')
    (tmp_path / "detector.json").write_text(text)
    with pytest.raises(InputError, match="whose code is not run"):
        vlad.Detector.load(tmp_path)


def test_the_scale_of_maps_goes_with_what_was_learned(small_file, drawn, tmp_path):
    def new():
        return vlad.load("memory", backbone=str(small_file), device="cpu")

    whole = new().fit(drawn[:3])
    scale = whole.head_.map_range
    assert vlad.Detector.load(whole.save(tmp_path / "saved")).head_.map_range == scale
    assert pickle.loads(pickle.dumps(whole)).head_.map_range == scale
    part = new().fit(drawn[:1])
    assert part.head_.map_range != scale
    assert part.partial_fit(drawn[1:3]).head_.map_range == scale


def test_what_it_learned_is_named_with_digests(detector, drawn, images, tmp_path):
    assert list(detector.learned_) == ["image 0", "image 1"]
    first = dict(detector.learned_)
    detector.partial_fit([drawn[2], images / "3.png"])
    assert len(detector.learned_) == 4 and first.items() <= detector.learned_.items()
    assert str(images / "3.png") in detector.learned_
    assert vlad.Detector.load(detector.save(tmp_path / "saved")).learned_ == detector.learned_
    assert set(detector.fit(drawn[:1]).learned_.items()) < first.items()
    settings = tmp_path / "saved" / "detector.json"
    found = json.loads(settings.read_text())
    settings.write_text(json.dumps({**found, "learned": {"a": 5}}))
    with pytest.raises(InputError, match=r"learned in detector\.json has the wrong type"):
        vlad.Detector.load(tmp_path / "saved")


def test_weights_are_carried_and_checked(detector, small_file, drawn, tmp_path, monkeypatch):
    expected = detector.score(drawn)
    folder = detector.save(tmp_path / "saved", with_weights=True)
    assert (folder / "weights" / small_file.name).is_file()
    moved = folder.rename(tmp_path / "moved")
    found = vlad.Detector.load(moved)
    assert found.backbone == str(moved / "weights" / small_file.name)
    same(found.score(drawn), expected)
    for again in (False, True):  # saved in place it stays whole
        found.save(moved, with_weights=again)
        moved = moved.rename(tmp_path / f"moved {again}")
        found = vlad.Detector.load(moved)
        same(found.score(drawn), expected)
    detector.save(moved)
    assert not (moved / "weights").exists()
    same(vlad.Detector.load(moved).score(drawn), expected)
    built_in = vlad.load("memory", backbone="vlad-tiny").fit(drawn[:1])
    assert not (built_in.save(tmp_path / "tiny", with_weights=True) / "weights").exists()


def test_a_threshold_goes_with_the_weights_whatever_their_name(detector, drawn, images, tmp_path):
    folder = detector.calibrate(drawn[2:4], 0.4).save(tmp_path / "saved", with_weights=True)
    found = vlad.Detector.load(folder)
    assert found.predict(drawn).anomalous.tolist() == detector.predict(drawn).anomalous.tolist()
    check_calibration(found.calibration_, found._record())
    with pytest.raises(InputError, match="other bits"):
        check_calibration(found.calibration_, {**found._record(), "bits": 12})
    check_calibration(found.calibration_, {**found._record(), "backbone": "of another name"})
    changed = {**found._record(), "weights": "0" * 16}
    with pytest.raises(InputError, match="other weights"):
        check_calibration(found.calibration_, changed)


BOX = {"size": [64, 64], "box": [8, 8, 56, 56]}


@pytest.fixture
def square(drawn):
    return [image.resize((64, 64)) for image in drawn]


@pytest.fixture
def whole(small_file, small_adapter, square, tmp_path):
    """A saved detector with a file of every kind."""
    (tmp_path / "roi.json").write_text(json.dumps(BOX))
    made = vlad.load(
        "anomalyclip",
        adapter=small_adapter("anomalyclip"),
        backbone=str(small_file),
        device="cpu",
        category="nut",
        roi=tmp_path / "roi.json",
    )
    return made.calibrate(square[2:6], 0.4).save(tmp_path / "whole", with_weights=True)


PARTS = [
    *("memory.safetensors", "calibration.json", "roi.png", "adapter.safetensors"),
    "weights/small.safetensors",
]


def test_a_folder_that_was_copied_in_part_is_refused(whole, square):
    vlad.Detector.load(whole).score(square[0])
    assert {str(p.relative_to(whole)) for p in whole.rglob("*") if p.is_file()} >= set(PARTS)
    for name in PARTS:
        content = (whole / name).read_bytes()
        (whole / name).unlink()
        with pytest.raises(InputError, match=f"lacks {name}, as if it was copied in part"):
            vlad.Detector.load(whole)
        (whole / name).write_bytes(content[:-1])
        with pytest.raises(InputError, match=f"was not saved with this {name}, as if"):
            vlad.Detector.load(whole)
        (whole / name).write_bytes(content)
    vlad.Detector.load(whole)


def test_files_of_two_detectors_are_not_mixed(whole, detector, drawn, tmp_path):
    detector.save(tmp_path / "plain")
    detector.calibrate(drawn[2:5], 0.3).save(tmp_path / "calibrated")
    file = (tmp_path / "calibrated" / "calibration.json").rename(
        tmp_path / "plain" / "calibration.json"
    )
    with pytest.raises(InputError, match=r"was not saved with this calibration\.json"):
        vlad.Detector.load(tmp_path / "plain")
    file.unlink()
    vlad.Detector.load(tmp_path / "plain").save(whole)  # and nothing of the former one stays
    assert {path.name for path in whole.iterdir()} == {"detector.json", "memory.safetensors"}
    vlad.Detector.load(whole)


def test_a_folder_of_an_earlier_version_loads_as_before(whole, square):
    expected = vlad.Detector.load(whole).predict(square)
    as_earlier(whole)
    found = vlad.Detector.load(whole)
    assert found.predict(square).anomalous.tolist() == expected.anomalous.tolist()
    assert found.replace(whole) == 1
    assert "files" in json.loads((whole / "detector.json").read_text())
    vlad.Detector.load(whole)


@pytest.mark.parametrize("files", [["roi.png"], {"../roi.png": "0" * 16}, {"roi.png": None}])
def test_a_damaged_record_of_files_is_refused(detector, tmp_path, files):
    folder = detector.save(tmp_path / "saved")
    settings = json.loads((folder / "detector.json").read_text())
    (folder / "detector.json").write_text(json.dumps({**settings, "files": files}))
    with pytest.raises(InputError, match="not paths with digests"):
        vlad.Detector.load(folder)


def test_a_memory_of_captions_goes_with_the_detector(small_file, drawn, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {"side": ["normal", "anomalous"] * 3, "caption": [f"scene {i}" for i in range(6)]}
    pq.write_table(pa.table(rows), tmp_path / "gate.parquet")
    made = vlad.load(
        "flashback",
        bank=str(tmp_path / "gate.parquet"),
        backbone=str(small_file),
        device="cpu",
        category="gate",
        top=3,
    )
    expected = made.score(drawn)
    saved = made.save(tmp_path / "saved")
    (tmp_path / "gate.parquet").unlink()
    assert (saved / "bank.parquet").exists() and not (saved / "bank.toml").exists()
    same(vlad.Detector.load(saved).score(drawn), expected)
    vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut").save(saved)
    assert not (saved / "bank.parquet").exists()
