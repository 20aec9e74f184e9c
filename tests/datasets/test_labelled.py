"""One's own labelled images, in folders and in a CSV manifest."""

import re

import pytest

from vlad.datasets import load_dataset
from vlad.datasets.labelled import LabelledFolder, Manifest
from vlad.errors import InputError
from vlad.types import Sample

NAMES = [
    "ok/0.png",
    "scratch/0.png",
    "scratch/1.JPG",
    "scratch/notes.txt",
    "ground_truth/scratch/0_mask.png",
    "train/monday/5.png",
    "train/6.png",
]


def test_folder(tmp_path, fill):
    root = fill(tmp_path / "nuts", NAMES)
    data = load_dataset("folder", root)
    assert list(data.categories) == ["nuts"]
    assert [(s.id, s.label, s.defect) for s in data.train("nuts")] == [
        ("train/6", 0, "good"),
        ("train/monday/5", 0, "good"),
    ]
    mask = root / "ground_truth/scratch/0_mask.png"
    assert data.test("nuts") == [
        Sample(root / "ok/0.png", "ok/0", "nuts", 0, "good"),
        Sample(root / "scratch/0.png", "scratch/0", "nuts", 1, "scratch", mask),
        Sample(root / "scratch/1.JPG", "scratch/1", "nuts", 1, "scratch"),
    ]


def test_folder_that_lacks_something(tmp_path, fill):
    with pytest.raises(InputError, match=r"put good/ \(or normal/, ok/\)"):
        LabelledFolder(fill(tmp_path / "a", ["scratch/0.png"]))
    data = LabelledFolder(fill(tmp_path / "b", ["good/readme.txt"]))
    with pytest.raises(InputError, match="have no images"):
        data.test("b")
    with pytest.raises(InputError, match="has no folder train"):
        data.train("b")
    with pytest.raises(InputError, match="unknown category 'nut'; choose from b"):
        data.test("nut")


@pytest.fixture
def manifest(tmp_path):
    def write(*lines, header="path,category,label,mask,split"):
        path = tmp_path / "list.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return write


def test_csv(manifest):
    path = manifest(
        "a/0.png,nut,,,train",
        "a/1.png,nut,normal,,train",
        "a/2.png,nut,anomalous,m/2.png,train",
        "b/3.png,nut,0,,test",
        "b/4.png,nut,1,m/4.png,",
        "c/0.png,bolt,1,,test",
    )
    data = load_dataset("csv", path)
    assert list(data.categories) == ["nut", "bolt"]
    assert [s.path.name for s in data.train("nut")] == ["0.png", "1.png"]
    samples = sorted(data.test("nut"), key=lambda sample: sample.path)
    assert [(s.path.name, s.label, s.category) for s in samples] == [
        ("3.png", 0, "nut"),
        ("4.png", 1, "nut"),
    ]
    assert samples[1].mask == path.parent / "m/4.png"
    with pytest.raises(InputError, match="lists no train images of bolt"):
        data.train("bolt")


def test_csv_of_labels_alone(manifest):
    path = manifest("0.png,0", "1.png,1", header="path,label")
    data = Manifest(path)
    (name,) = data.categories
    assert name == path.parent.name
    assert [(s.id, s.label, s.category) for s in data.test(name)] == [
        ("0", 0, name),
        ("1", 1, name),
    ]


@pytest.mark.parametrize(
    "line, says",
    [
        ("1.png,nut,0,,validation", "has the split 'validation'; write train, test"),
        ("0.png,nut,0,,train", "0.png for both train and test"),
        ("1.png,nut,maybe,,test", "line 3 of"),
    ],
)
def test_csv_with_mistakes(manifest, line, says):
    path = manifest("0.png,nut,0,,test", line)
    with pytest.raises(InputError, match=re.escape(says)):
        Manifest(path)


def test_csv_without_labels_or_missing(manifest, tmp_path):
    with pytest.raises(InputError, match=r"0\.png has no label in"):
        Manifest(manifest("0.png,nut,,,test")).test("nut")
    with pytest.raises(InputError, match="cannot read the manifest"):
        Manifest(tmp_path / "none.csv")
