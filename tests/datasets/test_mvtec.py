"""The MVTec layout, of one category and of many."""

import re

import pytest

from vlad.datasets import DATASETS, load_dataset
from vlad.datasets.mvtec import BTAD, MVTec
from vlad.errors import InputError
from vlad.types import Sample

BOTTLE = [
    "train/good/001.png",
    "train/good/000.png",
    "test/good/000.png",
    "test/crack/000.png",
    "test/crack/001.JPG",
    "test/crack/002.png",
    "test/crack/readme.txt",
    "test/crack/.DS_Store.png",
    "ground_truth/crack/000_mask.png",
    "ground_truth/crack/001.bmp",
    "license.txt",
]


def test_one_category(fill, tmp_path):
    root = fill(tmp_path / "bottle", BOTTLE)
    data = MVTec(root)
    assert list(data.categories) == ["bottle"]
    assert data.train("bottle") == [
        Sample(root / f"train/good/00{i}.png", f"train/good/00{i}", "bottle", 0, "good")
        for i in range(2)
    ]
    truth = root / "ground_truth/crack"
    assert data.test("bottle") == [
        Sample(
            root / "test/crack/000.png",
            "test/crack/000",
            "bottle",
            1,
            "crack",
            truth / "000_mask.png",
        ),
        Sample(
            root / "test/crack/001.JPG", "test/crack/001", "bottle", 1, "crack", truth / "001.bmp"
        ),
        Sample(root / "test/crack/002.png", "test/crack/002", "bottle", 1, "crack", None),
        Sample(root / "test/good/000.png", "test/good/000", "bottle", 0, "good"),
    ]


def test_many_categories_and_the_registry(fill, tmp_path):
    for category in ("metal_nut", "bottle"):
        fill(tmp_path / category, BOTTLE)
    fill(tmp_path, ["readme.txt", ".git/test/x", "notes/a.txt"])
    data = load_dataset("mvtec", str(tmp_path))
    assert list(data.categories) == ["bottle", "metal_nut"]
    assert {sample.category for sample in data.test("metal_nut")} == {"metal_nut"}


def test_category_of_a_relative_root_is_named_after_its_folder(fill, tmp_path, monkeypatch):
    monkeypatch.chdir(fill(tmp_path / "bottle", BOTTLE))
    assert MVTec(".").test("bottle")[0].id == "test/crack/000"


def test_without_ground_truth_or_train(fill, tmp_path):
    data = MVTec(fill(tmp_path / "bottle", ["test/crack/000.png"]))
    assert [(s.label, s.mask) for s in data.test("bottle")] == [(1, None)]
    with pytest.raises(InputError, match="no normal images"):
        data.train("bottle")


@pytest.mark.parametrize("names", [["a.png"], ["good/a.png", "bad/b.png"], ["train/good/0.png"]])
def test_other_layouts_are_told_what_was_expected(fill, tmp_path, names):
    fill(tmp_path, names)
    with pytest.raises(InputError, match=r"not in MVTec layout; put train/good, test/good"):
        MVTec(tmp_path)


def test_loco_masks_are_folders(fill, tmp_path):
    root = fill(
        tmp_path / "juice_bottle",
        [
            "train/good/000.png",
            "validation/good/000.png",
            "test/good/000.png",
            "test/logical_anomalies/000.png",
            "test/structural_anomalies/000.png",
            "test/structural_anomalies/001.png",
            "ground_truth/logical_anomalies/000/000.png",
            "ground_truth/logical_anomalies/000/001.png",
            "ground_truth/structural_anomalies/000/000.png",
        ],
    )
    data = load_dataset("mvtec_loco", tmp_path)
    assert [sample.id for sample in data.train("juice_bottle")] == ["train/good/000"]
    samples = data.test("juice_bottle")
    assert [(sample.defect, sample.label, sample.mask) for sample in samples] == [
        ("good", 0, None),
        ("logical_anomalies", 1, root / "ground_truth/logical_anomalies/000"),
        ("structural_anomalies", 1, root / "ground_truth/structural_anomalies/000"),
        ("structural_anomalies", 1, None),
    ]


def test_btad_says_ok_and_ko(fill, tmp_path):
    names = ["train/ok/0000.bmp", "test/ok/0001.bmp", "test/ko/0000.bmp", "train/ok/Thumbs.db"]
    for category, mask in [("01", "0000.png"), ("02", "other.png"), ("03", "0000.bmp")]:
        fill(tmp_path / category, [*names, f"ground_truth/ko/{mask}"])
    data = load_dataset("btad", tmp_path)
    assert list(data.categories) == ["01", "02", "03"]
    root = tmp_path / "03"
    assert data.train("03") == [
        Sample(root / "train/ok/0000.bmp", "train/ok/0000", "03", 0, "good")
    ]
    mask = root / "ground_truth/ko/0000.bmp"
    assert data.test("03") == [
        Sample(root / "test/ko/0000.bmp", "test/ko/0000", "03", 1, "ko", mask),
        Sample(root / "test/ok/0001.bmp", "test/ok/0001", "03", 0, "good"),
    ]
    assert data.test("01")[0].mask == tmp_path / "01/ground_truth/ko/0000.png"
    assert data.test("02")[0].mask is None


def test_btad_told_what_was_expected(fill, tmp_path):
    with pytest.raises(InputError, match=r"not in BTAD layout; put train/ok, test/ok"):
        BTAD(tmp_path)
    with pytest.raises(InputError, match="put some in train/ok"):
        BTAD(fill(tmp_path / "bottle", ["test/ko/0.bmp"])).train("bottle")


def test_test_without_folders(fill, tmp_path):
    data = MVTec(fill(tmp_path / "bottle", ["test/000.png"]))
    with pytest.raises(InputError, match="put some in test/good"):
        data.test("bottle")


def test_missing_root_category_and_layout(fill, tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        MVTec(tmp_path / "none")
    with pytest.raises(InputError, match=re.escape("unknown category 'nut'; choose from bottle.")):
        MVTec(fill(tmp_path / "bottle", BOTTLE)).test("nut")
    with pytest.raises(InputError, match="choose from auto, mvtec, "):
        load_dataset("nothing", tmp_path)


def test_every_registered_layout_can_be_imported(tmp_path):
    for name in DATASETS:
        with pytest.raises(InputError):
            load_dataset(name, tmp_path / "none")
