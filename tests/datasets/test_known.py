"""Folders of known defects."""

import pytest

from vlad.datasets.known import list_known
from vlad.errors import InputError

IMAGES = ["hole/000.png", "dent/000.png"]
MASKS = ["ground_truth/hole/000_mask.png", "ground_truth/dent/000.png"]


@pytest.mark.parametrize("above", ["", "test/"])
def test_image_mask_and_kind(tmp_path, fill, above):
    more = [f"{above}good/000.png", "train/good/000.png", "ground_truth/good/000.png"]
    root = fill(tmp_path / "a", [*(above + image for image in IMAGES), *MASKS, *more])
    found = [
        (s.path.relative_to(root).as_posix(), s.mask.relative_to(root).as_posix(), s.defect)
        for s in list_known(root)
    ]
    assert found == [
        (f"{above}dent/000.png", MASKS[1], "dent"),
        (f"{above}hole/000.png", MASKS[0], "hole"),
    ]


def test_masks_of_a_single_kind_need_no_folder(tmp_path, fill):
    root = fill(tmp_path / "a", ["hole/000.png", "masks/000_mask.png"])
    (sample,) = list_known(root)
    assert sample.mask == root / "masks/000_mask.png"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([*IMAGES, *MASKS, "ground_truth/hole/001_mask.png"], "1 of the masks match no image"),
        ([*IMAGES, *MASKS, "hole/001.png"], "1 of the images in .* have no mask"),
        (["good/000.png", "ground_truth/hole/000.png"], "has no images of defects"),
    ],
)
def test_what_is_refused(tmp_path, fill, names, words):
    with pytest.raises(InputError, match=words):
        list_known(fill(tmp_path / "a", names))


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        list_known(tmp_path / "nowhere")
