"""The Python API in scikit-learn's manners."""

import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

import vlad
from vlad.errors import HeadError, ImageError, InputError


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
    turned = [image.rotate(angle) for image in drawn[:4] for angle in range(0, 90, 15)]
    with pytest.raises(InputError, match="24 normal images cannot"):
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
