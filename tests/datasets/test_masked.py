"""Which mask belongs to which image, and what is said of the rest."""

import warnings

import pytest

from vlad.datasets import load_dataset
from vlad.datasets.labelled import LabelledFolder
from vlad.datasets.mvtec import MVTec
from vlad.errors import InputError


def masks(root):
    """Image -> mask, both below the folder; and what was said."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        samples = load_dataset("auto", root).test(root.name)
    found = {
        s.path.relative_to(root).as_posix(): s.mask and s.mask.relative_to(root).as_posix()
        for s in samples
        if s.label
    }
    return found, [str(warning.message) for warning in said]


@pytest.mark.parametrize(
    "name",
    [
        *("000_mask.png", "000.png", "000.bmp", "000_gt.png", "000_GT.png", "000_MASK.PNG"),
        *("000-mask.png", "000_label.png", "mask_000.png", "000 ground truth.png"),
        *("000/0.png", "000_segmentation.png", "gt-000.tif"),
    ],
)
@pytest.mark.parametrize("kind", ["ground_truth/hole", "ground_truth/Hole", "masks/hole", "GT"])
def test_names_of_masks(tmp_path, fill, name, kind):
    root = fill(tmp_path / "a", ["test/hole/000.png", "test/good/000.png", f"{kind}/{name}"])
    mask = f"{kind}/000" if name == "000/0.png" else f"{kind}/{name}"
    assert masks(root) == ({"test/hole/000.png": mask}, [])


@pytest.mark.parametrize("layout", ["test/", ""])
@pytest.mark.parametrize(
    "name", ["hole/x.png", "holes/000_mask.png", "000_mask.png", "hole/000_other.png"]
)
def test_masks_that_match_no_image_are_told(tmp_path, fill, layout, name):
    names = ["hole/000.png", "dent/000.png", "good/000.png", "good/001.png"]
    root = fill(tmp_path / "a", [layout + image for image in names])
    fill(root, [f"ground_truth/{name}", "ground_truth/good/000_mask.png"])
    found, said = masks(root)
    assert set(found.values()) == {None}
    (sentence,) = said
    assert "1 of the masks match no image" in sentence and name in sentence


def test_the_surer_name_counts_and_the_other_is_told(tmp_path, fill):
    names = ["hole/000.png", "hole/000_mask.png", "hole/mask_001.png", "hole/001.png"]
    root = fill(tmp_path / "a", [f"ground_truth/{name}" for name in names])
    fill(root, ["test/hole/000.png", "test/hole/001.png"])
    found, (said,) = masks(root)
    assert found == {
        "test/hole/000.png": "ground_truth/hole/000_mask.png",
        "test/hole/001.png": "ground_truth/hole/001.png",
    }
    assert "2 of the masks" in said and "hole/000.png" in said and "mask_001.png" in said


@pytest.mark.parametrize("layout", ["test/", ""])
@pytest.mark.parametrize("deep", ["sub/001_mask.png", "001_mask.png"])
def test_folders_are_searched_to_their_depths(tmp_path, fill, layout, deep):
    names = ["hole/sub/001.png", "hole/000.png", "Good/far/off/0.png"]
    root = fill(tmp_path / "a", [layout + image for image in names])
    train = "train/good/sub" if layout else "train/sub"
    fill(root, [f"ground_truth/hole/{deep}", f"{train}/5.png"])
    found, said = masks(root)
    assert found == {
        f"{layout}hole/000.png": None,
        f"{layout}hole/sub/001.png": f"ground_truth/hole/{deep}",
    }
    assert not said
    data = load_dataset("auto", root)
    assert [s.id for s in data.test("a") if not s.label] == [f"{layout}Good/far/off/0"]
    assert [s.id for s in data.train("a")] == [f"{train}/5"]


def test_masks_are_not_mixed_up_between_folders_and_stems(tmp_path, fill):
    root = fill(tmp_path / "a", ["test/hole/a/0.png", "test/hole/b/0.png", "test/good/0.png"])
    fill(root, ["ground_truth/hole/0_mask.png"])
    found, (said,) = masks(root)
    assert set(found.values()) == {None} and "0_mask.png" in said
    fill(root, ["test/hole/1.png", "test/hole/1.bmp", "ground_truth/hole/1_mask.png"])
    with pytest.raises(InputError, match=r"1\.bmp and .*1\.png share the mask .*1_mask\.png"):
        masks(root)
    fill(root, ["ground_truth/hole/1.bmp", "ground_truth/hole/1.png_mask.png"])
    found, _ = masks(root)
    assert found["test/hole/1.bmp"] == "ground_truth/hole/1.bmp"
    assert found["test/hole/1.png"] == "ground_truth/hole/1.png_mask.png"


@pytest.mark.parametrize("kind", ["Good", "GOOD", "OK", "normal", "Normal"])
@pytest.mark.parametrize("reader", [MVTec, LabelledFolder])
def test_normal_images_by_any_name(tmp_path, fill, kind, reader):
    names = [f"{kind}/0.png", "hole/0.png"]
    root = fill(tmp_path / "a", [f"test/{n}" if reader is MVTec else n for n in names])
    fill(root, [f"Train/{kind}/0.png"])
    data = reader(root)
    assert {s.defect: s.label for s in data.test("a")} == {"good": 0, "hole": 1}
    assert [s.label for s in data.train("a")] == [0]


def test_anomalous_images_with_masks_are_enough(tmp_path, fill):
    root = fill(tmp_path / "a", ["hole/0.png", "ground_truth/hole/0.png"])
    assert masks(root) == ({"hole/0.png": "ground_truth/hole/0.png"}, [])
