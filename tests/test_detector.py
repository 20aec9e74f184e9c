"""The Python API in scikit-learn's manners."""

import pickle
import tracemalloc
from inspect import signature

import numpy as np
import pytest
import torch
from PIL import Image

import vlad
from vlad.errors import BackboneError, HeadError, ImageError, InputError
from vlad.heads.memory import Memory
from vlad.types import Box


@pytest.fixture
def detector(small_file, drawn):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", layers=(1, 3))
    return made.fit(drawn[:2])


def same(one, other):
    np.testing.assert_array_equal(one.image_score, other.image_score)
    np.testing.assert_array_equal(one.anomaly_map, other.anomaly_map)


def test_numpy_comes_out(detector, drawn):
    scores = detector.score(drawn)
    assert isinstance(scores.image_score, np.ndarray)
    assert scores.image_score.shape == (6,)
    assert scores.anomaly_map.shape == (6, 64, 64)


def test_files_images_and_arrays_are_the_same(detector, drawn, images):
    expected = detector.score(drawn[5])
    assert expected.image_score.shape == (1,)
    same(detector.score(str(images / "5.png")), expected)
    same(detector.score(images / "5.png"), expected)
    same(detector.score(np.asarray(drawn[5])), expected)
    same(detector.score(images), detector.score(drawn))
    same(detector.score([images / "5.png", drawn[5]]), detector.score([drawn[5]] * 2))


def test_tensors_batches_bytes_and_open_files_are_the_same(detector, drawn, images):
    arrays = np.stack([np.asarray(image.resize((80, 70))) for image in drawn])
    tensors = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
    expected = detector.score(list(arrays))
    same(detector.score(tensors), expected)
    same(detector.score(torch.stack(tensors) / 255), expected)
    same(detector.score(arrays), expected)
    same(detector.score([arrays[:2], torch.stack(tensors[2:])]), expected)
    same(detector.score(batch for batch in arrays.reshape(3, 2, *arrays.shape[1:])), expected)
    paths, expected = sorted(images.glob("*.png")), detector.score(drawn)
    same(detector.score(path.read_bytes() for path in paths), expected)
    same(detector.score(paths[5].read_bytes()), detector.score(paths[5]))
    with paths[5].open("rb") as file:
        same(detector.score(file), detector.score(paths[5]))
    same(detector.fit([path.read_bytes() for path in paths[:2]]).score(drawn), expected)


@pytest.mark.parametrize("given", [[], iter([]), np.zeros((0, 64, 64, 3), np.uint8)])
def test_no_image_is_refused(detector, given):
    with pytest.raises(InputError, match="`images` is empty"):
        detector.score(given)
    with pytest.raises(InputError, match="`images` is empty"):
        detector.fit(given)


@pytest.mark.parametrize("given", [5, None, [5]])
def test_what_is_no_image_is_refused(detector, given):
    with pytest.raises(ImageError, match="as an image; give a path, bytes"):
        detector.score(given)


def test_the_constructor_only_stores(small_file):
    made = vlad.load("winclip", backbone="no such backbone", category="nut", temperature=0.1)
    assert (made.category, made.head_params) == ("nut", {"temperature": 0.1})
    assert not [name for name in vars(made) if name.endswith("_")]


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


def test_a_batch_of_a_data_pipeline(detector, drawn):
    batch = detector({"image": [np.asarray(image) for image in drawn], "key": np.arange(6)})
    same(vlad.Scores(batch["image_score"], batch["anomaly_map"]), detector.score(drawn))
    assert batch["key"].tolist() == list(range(6))


def test_zero_shot_needs_only_words(small_file, drawn):
    made = vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")
    few_shot = vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")
    zero, few = made.score(drawn), few_shot.fit(drawn[:1]).score(drawn)
    assert ((zero.image_score > 0) & (zero.image_score < 1)).all()
    assert np.abs(zero.image_score - few.image_score).max() > 1e-3


def test_what_is_missing_is_said(small_file, drawn, tmp_path):
    with pytest.raises(HeadError, match="fit it"):
        vlad.load("memory", backbone=str(small_file), device="cpu").score(drawn)
    with pytest.raises(InputError):
        vlad.load("memory", backbone=str(small_file), device="cpu").fit(tmp_path / "nowhere")


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


def test_an_image_to_be_cut_waits_at_its_own_size(small_file):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", tile=32, overlap=0.8)
    made.prepare(Image.new("RGB", (40, 40)))
    tracemalloc.start()
    try:
        prepared = made.prepare(Image.new("RGB", (400, 400)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert prepared.size == (400, 400)
    assert held < 400 * 400 * 3


@pytest.mark.parametrize("tile", [None, 48])
def test_prepared_images_score_as_they_are(small_file, drawn, tile):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", tile=tile).fit(drawn[:2])
    prepared = [made.prepare(image) for image in drawn]
    assert [one.size for one in prepared] == [image.size for image in drawn]
    one, other = made.score(prepared), made.score(drawn)
    np.testing.assert_array_equal(one.image_score, other.image_score)
    for found, expected in zip(one.anomaly_map, other.anomaly_map, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_images_from_an_iterator_are_opened_one_by_one(detector, drawn):
    same(detector.score(image for image in drawn), detector.score(drawn))


def test_a_category_in_place_of_its_own(small_file, drawn):
    made = vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")
    other = vlad.load("winclip", backbone=str(small_file), device="cpu", category="cable")
    same(made.score(drawn, category="cable"), other.score(drawn))
    assert (made.score(drawn).image_score != other.score(drawn).image_score).any()


def test_detectors_share_a_backbone_and_pickle_without_it(detector, drawn):
    other = vlad.load("memory", backbone="no such backbone", layers=(1, 3))
    other.backbone_ = detector.backbone_
    same(other.fit(drawn[:2]).score(drawn), detector.score(drawn))
    sent = vars(pickle.loads(pickle.dumps(detector)))
    assert {"_backbone", "_loaded"} <= vars(detector).keys()
    assert not {"_backbone", "_loaded"} & sent.keys()


@pytest.mark.parametrize("tile", [None, 48])
def test_a_stream_gives_each_image_its_scores_or_its_error(small_file, drawn, images, tile):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", tile=tile, batch_size=2)
    made.fit(drawn[:2])
    (images / "2.png").write_bytes(b"no image")
    given = [images / f"{i}.png" for i in range(5)] + [drawn[5], np.zeros((2, 2), complex)]
    found = list(made.stream(given))
    assert [one.index for one in found] == list(range(7))
    assert [one.image for one in found] == given
    assert [one.index for one in found if one.error] == [2, 6]
    assert "2.png" in found[2].error and found[2].image_score is None
    for one, image in zip(found, drawn, strict=False):
        if not one.error:
            expected = made.score(image)
            assert one.size == image.size
            assert one.image_score == pytest.approx(expected.image_score[0], abs=1e-6)
            np.testing.assert_allclose(one.anomaly_map, expected.anomaly_map[0], atol=1e-6)
    with pytest.raises(ImageError, match=r"2\.png"):
        made.score(given)


def test_a_stream_reads_no_further_ahead_than_two_batches(small_file, drawn):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", batch_size=2).fit(drawn[:2])
    taken = []

    def endless():
        while True:
            taken.append(None)
            yield drawn[0]

    stream = made.stream(endless())
    for _ in range(4):
        next(stream)
    stream.close()
    assert len(taken) <= 4 + 3 * 2


def test_a_stream_of_a_joint_head_keeps_the_order(small_file, drawn, images):
    made = vlad.load("musc", backbone=str(small_file), device="cpu", batch_size=2)
    (images / "2.png").write_bytes(b"no image")
    found = list(made.stream([images / f"{i}.png" for i in range(6)]))
    assert [one.index for one in found] == list(range(6))
    assert [one.index for one in found if one.error] == [2]
    good = [drawn[i] for i in (0, 1, 3, 4, 5)]
    scores = [one.image_score for one in found if not one.error]
    np.testing.assert_allclose(scores, made.score(good).image_score, atol=1e-6)


def test_one_image_in_several_places_is_decoded_by_one_thread_at_a_time(detector, images):
    with Image.open(images / "0.png") as opened:  # decoded when it is first used
        scores = detector.score([opened] * 20).image_score
    assert len(set(scores.tolist())) == 1


def test_clone_and_params_as_scikit_learn_has_them(detector, drawn):
    from sklearn.base import clone
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    params = detector.get_params()
    assert params.keys() == signature(vlad.Detector).parameters.keys()
    assert params["head_params"] == {"layers": (1, 3)}
    copy = clone(detector)
    assert copy.get_params() == params and not hasattr(copy, "head_")
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    check_is_fitted(copy.fit(drawn[:2]))
    same(copy.score(drawn), detector.score(drawn))
    assert copy.set_params(batch_size=3, bits=12) is copy
    assert (copy.batch_size, copy.setup.bits) == (3, 12)
    with pytest.raises(InputError, match=r"no argument batchsize. Did you mean batch_size\?"):
        copy.set_params(batchsize=3)
    with pytest.raises(InputError, match="batch_size is 0"):
        copy.set_params(batch_size=0)
    assert copy.batch_size == 3


def test_repr_names_what_is_not_the_default():
    assert repr(vlad.Detector()) == "Detector()"
    made = vlad.load("winclip", tile=64, temperature=0.1)
    assert eval(repr(made), {"Detector": vlad.Detector}).get_params() == made.get_params()
    assert repr(made) == "Detector(head='winclip', tile=64, head_params={'temperature': 0.1})"


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
    for name, rows in grown.head_.memory_.items():
        assert torch.equal(rows, torch.cat([part[name] for part in parts]))
        assert len(rows) == 16


def test_partial_fit_of_a_saved_detector(detector, drawn, tmp_path):
    found = vlad.Detector.load(detector.save(tmp_path)).partial_fit(drawn[2:4])
    same(found.score(drawn), detector.partial_fit(drawn[2:4]).score(drawn))


def test_heads_that_cannot_add_say_so(small_file, drawn):
    made = vlad.load("musc", backbone=str(small_file), device="cpu").fit(drawn[:3])
    with pytest.raises(HeadError, match="call `fit` with all images"):
        made.partial_fit(drawn[3:])


def test_a_setting_changed_after_use_takes_effect_and_is_saved(small_file, drawn, tmp_path):
    made = vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")
    before = made.score(drawn)
    made.bank = "medical"
    after = made.score(drawn)
    other = vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")
    same(after, other.set_params(bank="medical").score(drawn))
    assert (after.image_score != before.image_score).any()
    same(vlad.Detector.load(made.save(tmp_path)).score(drawn), after)
    made.head_params = {"temperature": 0.5}
    assert (made.score(drawn).image_score != after.image_score).any()
    made.head, made.head_params = "memory", None
    assert made.fit(drawn[:2]).score(drawn).anomaly_map.shape == (6, 64, 64)


@pytest.mark.parametrize(
    "change",
    [{"image_size": 96}, {"tile": 48}, {"bits": 12}, {"head_params": {"layers": (2,)}}],
    ids=str,
)
def test_a_setting_that_fit_rests_on_asks_for_another_fit(detector, drawn, change, tmp_path):
    ((name, _),) = change.items()
    for use in (detector.score, detector.partial_fit, lambda images: detector.save(tmp_path)):
        detector.set_params(**change)
        with pytest.raises(HeadError, match=f"`{name}` changed after `fit`; call `fit` again"):
            use(drawn)
    assert len(detector.fit(drawn[:2]).score(drawn)) == 6


def test_a_parameter_changed_in_place_is_noticed(detector, drawn):
    detector.head_params["layers"] = (2,)
    with pytest.raises(HeadError, match="`head_params` changed after `fit`"):
        detector.score(drawn)


def test_a_setting_that_a_threshold_rests_on_asks_for_another(detector, drawn, tmp_path):
    detector.calibrate(drawn[2:], false_alarms=0.3).batch_size = 2
    assert len(detector.predict(drawn)) == 6
    detector.category = "cable"
    for use in (detector.predict, lambda images: detector.save(tmp_path)):
        with pytest.raises(HeadError, match="`category` changed after `calibrate`"):
            use(drawn)
    assert len(detector.calibrate(drawn[2:], false_alarms=0.3).predict(drawn)) == 6
    loaded = vlad.Detector.load(detector.save(tmp_path))
    loaded.category = "nut"
    with pytest.raises(HeadError, match="`category` changed after `calibrate`"):
        loaded.predict(drawn)


def test_another_backbone_is_loaded_when_it_is_set(detector, drawn):
    detector.backbone = "no such backbone"
    with pytest.raises(HeadError, match="`backbone` changed after `fit`"):
        detector.score(drawn)
    with pytest.raises(BackboneError, match="no such backbone"):
        detector.fit(drawn)


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


@pytest.mark.parametrize(
    ("head", "options", "says"),
    [
        ("memory", {"backbon": "x"}, r"Head memory has no option backbon. Did you mean backbone\?"),
        ("memory", {"layer": (1,)}, r"Did you mean layers\?"),
        ("winclip", {"zzz": 1}, "choose from head, backbone, .*, temperature"),
        ("memroy", {}, "memroy"),
    ],
)
def test_a_misspelt_name_is_said_at_once(head, options, says):
    with pytest.raises(HeadError, match=says):
        vlad.load(head, **options)


@pytest.mark.parametrize("false_alarms", [2, 0, -1, float("nan"), True, "0.1", None])
def test_false_alarms_out_of_range(detector, drawn, false_alarms):
    with pytest.raises(InputError, match=r"false_alarms is .*; give a number between 0 and 1"):
        detector.calibrate(drawn, false_alarms=false_alarms)


@pytest.mark.parametrize("confidence", [90, 0.5, float("nan"), True, "0.9"])
def test_a_confidence_out_of_range(detector, drawn, confidence):
    with pytest.raises(InputError, match=r"confidence is .*; give a number between 0\.5 and 1"):
        detector.calibrate(drawn, 0.3, confidence=confidence)


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


@pytest.fixture
def boxed(small_file, small_adapter):
    return vlad.load(
        "filo",
        backbone=str(small_file),
        device="cpu",
        category="nut",
        adapter=str(small_adapter("filo")),
    )


def test_boxes_weaken_the_map_of_their_image_outside_of_them(boxed, drawn):
    before = boxed.score(drawn[:2])
    corner = Box((0.0, 0.0, 0.5, 0.5), 0.9, "rust")
    same(boxed.score(drawn[:2], boxes=[[], []]), before)
    after = boxed.score(drawn[:2], boxes=[[], [corner]])
    np.testing.assert_array_equal(after.anomaly_map[0], before.anomaly_map[0])
    # the position of the box chooses among the prompts; the rest of the map is weakened
    assert after.image_score[1] != before.image_score[1]
    whole = boxed.score(drawn[1], boxes=[[Box((0.0, 0.0, 1.0, 1.0), 0.1, "rust"), corner]])
    ratio = after.anomaly_map[1] / whole.anomaly_map[0]
    np.testing.assert_allclose(ratio[:32, :32], 1, rtol=1e-5)
    np.testing.assert_allclose(ratio[32:, 32:], 0.7, rtol=1e-5)


@pytest.mark.parametrize(
    ("edges", "score"),
    [((0.5, 0.0, 0.5, 1.0), 0.5), ((0.0, 0.0, 1.5, 1.0), 0.5), ((0.0, 0.0, 1.0, 1.0), 50.0)],
)
def test_a_box_that_does_not_fit_is_refused(boxed, drawn, edges, score):
    with pytest.raises(InputError, match="which does not fit"):
        boxed.score(drawn[0], boxes=[[Box(edges, score, "rust")]])


def test_boxes_that_do_not_fit_the_images_or_the_head_are_refused(boxed, detector, drawn):
    with pytest.raises(InputError, match="of 1 image, but there are 2"):
        boxed.score(drawn[:2], boxes=[[]])
    with pytest.raises(HeadError, match="No head here uses boxes"):
        detector.score(drawn[0], boxes=[[]])
    boxed.set_params(tile=32)
    with pytest.raises(InputError, match="leave `boxes` or `tile` out"):
        boxed.score(drawn[0], boxes=[[]])
