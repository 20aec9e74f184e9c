"""MVTec AD 2: the public test, validation and private splits."""

import re

import pytest

from vlad.datasets import load_dataset
from vlad.datasets.boxes import Boxed
from vlad.datasets.mvtec_ad_2 import MVTecAD2
from vlad.errors import InputError
from vlad.types import Sample

CAN = [
    "train/good/000_regular.png",
    "train/good/001_regular.png",
    "validation/good/000_regular.png",
    "test_public/good/000_regular.png",
    "test_public/good/000_shift_1.png",
    "test_public/bad/000_overexposed.png",
    "test_public/bad/000_underexposed.png",
    "test_public/ground_truth/bad/000_overexposed_mask.png",
    "test_public/ground_truth/bad/000_underexposed_mask.png",
    "test_private/000_regular.png",
    "test_private/001_regular.png",
    "test_private_mixed/000_mixed.png",
]


@pytest.fixture
def can(fill, tmp_path):
    """Writes the tree without the files whose paths begin with `but`."""

    def write(but="nothing"):
        return fill(tmp_path / "can", [name for name in CAN if not name.startswith(but)])

    return write


def test_public_test_has_labels_and_masks(can):
    root = can()
    data = MVTecAD2(root)
    assert list(data.categories) == ["can"]
    bad, truth = root / "test_public/bad", root / "test_public/ground_truth/bad"
    assert data.test("can") == [
        *(
            Sample(
                bad / f"000_{light}.png",
                f"test_public/bad/000_{light}",
                "can",
                1,
                "bad",
                truth / f"000_{light}_mask.png",
            )
            for light in ("overexposed", "underexposed")
        ),
        *(
            Sample(
                root / f"test_public/good/000_{light}.png",
                f"test_public/good/000_{light}",
                "can",
                0,
                "good",
            )
            for light in ("regular", "shift_1")
        ),
    ]


def test_training_validation_and_private_images(can):
    data = MVTecAD2(can())
    assert [s.id for s in data.train("can")] == [f"train/good/00{i}_regular" for i in (0, 1)]
    assert [s.id for s in data.validation("can")] == ["validation/good/000_regular"]
    assert {s.label for s in (*data.train("can"), *data.validation("can"))} == {0}
    private = data.unlabelled("can")
    assert [s.id for s in private] == [
        "test_private/000_regular",
        "test_private/001_regular",
        "test_private_mixed/000_mixed",
    ]
    assert {(s.label, s.mask, s.category) for s in private} == {(None, None, "can")}


def test_many_categories_and_detection(fill, tmp_path):
    for category in ("walnuts", "can"):
        fill(tmp_path / category, CAN)
    fill(tmp_path, ["readme.txt", "notes/a.txt"])
    data = load_dataset("auto", tmp_path)
    assert isinstance(data, MVTecAD2) and list(data.categories) == ["can", "walnuts"]


@pytest.mark.parametrize(
    ("but", "method", "says"),
    [
        ("train/", "train", "can has no normal images; put some in train/good"),
        ("validation/", "validation", "no images in validation/good; unpack the set again"),
        ("test_private/", "unlabelled", "no images in test_private; unpack the set again"),
        ("test_private_mixed/", "unlabelled", "no images in test_private_mixed; unpack"),
    ],
)
def test_missing_split_is_told_when_it_is_needed(can, but, method, says):
    data = MVTecAD2(can(but))
    assert data.test("can")
    with pytest.raises(InputError, match=re.escape(says)):
        getattr(data, method)("can")


def test_odd_trees(can, fill, tmp_path):
    with pytest.raises(InputError, match=r"not in MVTec AD 2 layout; put train/good"):
        MVTecAD2(fill(tmp_path / "other", ["test/good/0.png"]))
    (tmp_path / "empty/test_public").mkdir(parents=True)
    with pytest.raises(InputError, match="test_public has no images; put some in"):
        MVTecAD2(tmp_path / "empty").test("empty")
    with pytest.raises(InputError, match=r"unknown category 'cann'\. Did you mean can\?"):
        MVTecAD2(can()).unlabelled("cann")


def test_with_boxes_the_limit_stays_and_validation_images_go(can):
    boxed = Boxed(MVTecAD2(can()), {})
    assert boxed.aupro_limit == 0.05
    assert not hasattr(boxed, "validation") and not hasattr(boxed, "unlabelled")


def test_loose_masks_and_files_are_told(can, fill):
    root = fill(can(), ["test_public/ground_truth/bad/007_mask.png", "test_public/009.png"])
    with pytest.warns(UserWarning) as told:
        MVTecAD2(root).test("can")
    said = " ".join(str(one.message) for one in told)
    assert "1 of the masks match no image" in said and "009.png" in said
