"""The MVTec layout, of one category and of many."""

import re

import pytest

from vlad.datasets import DATASETS, load_dataset
from vlad.datasets.mvtec import MVTec
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


def fill(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_one_category(tmp_path):
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


def test_many_categories_and_the_registry(tmp_path):
    for category in ("metal_nut", "bottle"):
        fill(tmp_path / category, BOTTLE)
    fill(tmp_path, ["readme.txt", ".git/test/x", "notes/a.txt"])
    data = load_dataset("mvtec", str(tmp_path))
    assert list(data.categories) == ["bottle", "metal_nut"]
    assert {sample.category for sample in data.test("metal_nut")} == {"metal_nut"}


def test_category_of_a_relative_root_is_named_after_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(fill(tmp_path / "bottle", BOTTLE))
    assert MVTec(".").test("bottle")[0].id == "test/crack/000"


def test_without_ground_truth_or_train(tmp_path):
    data = MVTec(fill(tmp_path / "bottle", ["test/crack/000.png"]))
    assert [(s.label, s.mask) for s in data.test("bottle")] == [(1, None)]
    with pytest.raises(InputError, match="no normal pictures"):
        data.train("bottle")


@pytest.mark.parametrize("names", [["a.png"], ["good/a.png", "bad/b.png"], ["train/good/0.png"]])
def test_other_layouts_are_told_what_was_expected(tmp_path, names):
    fill(tmp_path, names)
    with pytest.raises(InputError, match=r"not in MVTec layout: expected train/good, test/good"):
        MVTec(tmp_path)


def test_test_without_folders(tmp_path):
    data = MVTec(fill(tmp_path / "bottle", ["test/000.png"]))
    with pytest.raises(InputError, match="expected them in test/good"):
        data.test("bottle")


def test_missing_root_category_and_layout(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        MVTec(tmp_path / "none")
    with pytest.raises(InputError, match=re.escape("unknown category 'nut'; there are: bottle.")):
        MVTec(fill(tmp_path / "bottle", BOTTLE)).test("nut")
    with pytest.raises(InputError, match="there are: mvtec"):
        load_dataset("visual", tmp_path)


def test_every_registered_layout_can_be_imported(tmp_path):
    for name in DATASETS:
        with pytest.raises(InputError):
            load_dataset(name, tmp_path / "none")
