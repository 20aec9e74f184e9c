"""What a detector says about one image, and which reference images it shows."""

import numpy as np
import pytest
import torch
from PIL import Image

import vlad
from vlad.errors import HeadError, ImageError


@pytest.fixture
def on_files(small_file, images):
    """A detector fitted on two files."""
    made = vlad.load("memory", backbone=str(small_file), device="cpu", layers=(1, 3))
    return made.fit([images / "0.png", images / "1.png"])


def test_the_score_and_the_map_are_those_of_score(detector, drawn):
    found, scores = detector.explain(drawn[5]), detector.score(drawn[5])
    assert found.image_score == scores.image_score[0]
    np.testing.assert_array_equal(found.anomaly_map, scores.anomaly_map[0])
    assert found.name == "image"


def test_files_arrays_and_images_are_the_same(on_files, images):
    by_file = on_files.explain(images / "5.png")
    with Image.open(images / "5.png") as image:
        by_image = on_files.explain(image)
        by_array = on_files.explain(np.asarray(image))
    assert by_file.name == by_image.name == str(images / "5.png") and by_array.name == "image"
    assert by_image.as_dict() == by_file.as_dict() == by_array.as_dict() | {"image": by_file.name}


def test_a_calibrated_detector_takes_regions_above_its_threshold(detector, drawn):
    detector.calibrate(drawn[2:5], 0.5)
    level = detector.calibration_.map_thresholds["memory"]
    found = detector.explain(drawn[5])
    assert f"{level:.4g}" in found.note
    if found.anomaly_map.max() > level:
        assert found.level == level


def test_reference_crops_are_shown_from_the_files_of_the_fit(on_files, images, tmp_path):
    first = on_files.explain(images / "5.png").regions[0]
    place = first.reasons[0].image
    assert first.reference == str(images / f"{place}.png")
    assert first.reference_crop is not None and first.crop is not None
    assert first.reference_note == ""


def test_a_saved_detector_still_knows_its_reference_images(on_files, images, tmp_path):
    on_files.save(tmp_path / "d")
    other = vlad.Detector.load(tmp_path / "d")
    assert other.explain(images / "5.png").as_dict() == on_files.explain(images / "5.png").as_dict()


def test_a_changed_or_missing_file_is_not_shown(on_files, images):
    place = on_files.explain(images / "5.png").regions[0].reasons[0].image
    file = images / f"{place}.png"
    with Image.open(file) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file)
    first = on_files.explain(images / "5.png").regions[0]
    assert first.reference == str(file)
    assert first.reference_crop is None and first.crop is not None
    assert first.reference_note == f"The file {file} changed since the fit, so it is not shown."
    file.unlink()
    first = on_files.explain(images / "5.png").regions[0]
    assert first.reference_crop is None
    assert first.reference_note.startswith(f"The reference image {file} is no file here")


def test_images_in_memory_are_named_and_not_shown(detector, drawn):
    first = detector.explain(drawn[5]).regions[0]
    assert first.reference == f"image {first.reasons[0].image}"
    assert first.reference_crop is None and "is no file here" in first.reference_note


def test_an_image_shown_twice_leaves_the_names_unknown(small_file, images):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", layers=(1,))
    made.fit(images / "0.png").partial_fit([images / "0.png", images / "1.png"])
    first = made.explain(images / "5.png").regions[0]
    assert first.reference == "" and "not known" in first.reference_note


def test_names_stay_right_after_images_are_added_and_removed(on_files, images):
    on_files.partial_fit(images / "2.png").remove([0])
    kept = [str(images / "1.png"), str(images / "2.png")]
    for region in on_files.explain(images / "5.png").regions:
        assert region.reference == kept[region.reasons[0].image]
    own = on_files.explain(images / "2.png")
    assert own.image_score == pytest.approx(0, abs=1e-5)


def test_the_gradients_and_types_of_the_caller_do_not_matter(detector, drawn):
    expected = detector.explain(drawn[5]).as_dict()
    torch.set_default_dtype(torch.float64)
    try:
        assert detector.explain(drawn[5]).as_dict() == expected
    finally:
        torch.set_default_dtype(torch.float32)


def test_what_cannot_be_explained(detector, drawn, tmp_path):
    with pytest.raises(ImageError, match="cannot read"):
        detector.explain(tmp_path / "none.png")
    with pytest.raises(ImageError, match="a prepared image is for `score` only"):
        detector.explain(detector.prepare(drawn[0]))
    with pytest.raises(HeadError, match="compares with normal images"):
        vlad.Detector("memory", backbone=detector.backbone, device="cpu").explain(drawn[0])
