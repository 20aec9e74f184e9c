"""The one list that `vlad score` works through, from whatever was named."""

import pytest
from PIL import Image

from vlad.datasets import list_samples
from vlad.errors import ImageError, InputError
from vlad.images import read_image


@pytest.fixture
def images(tmp_path, monkeypatch):
    for name in ("a/0.png", "a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    (tmp_path / "b/list.csv").write_text("path,label\n2.png,1\n../a/1.png,0\n3.png,\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def summary(samples):
    return [(sample.id, sample.label) for sample in samples]


def test_files_folders_patterns_and_manifests_mix(images):
    expected = [("b/2", 1), ("a/1", 0), ("b/3", None), ("a/0", None)]
    assert summary(list_samples(["b/list.csv", "a", "**/*.png"])) == expected


def test_what_was_named_first_wins(images):
    assert summary(list_samples(["a/1.png", "b/list.csv"]))[0] == ("a/1", None)


def test_manifest_alone(images):
    assert summary(list_samples("b/list.csv")) == [("b/2", 1), ("a/1", 0), ("b/3", None)]


def test_missing_image_of_a_manifest_is_told_when_it_is_read(images):
    missing = list_samples("b/list.csv")[2]
    with pytest.raises(ImageError, match="no such file"):
        read_image(missing.path)


@pytest.mark.parametrize("paths", [[], "none.csv", "none", ["a", "none/*.png"]])
def test_nothing_there(images, paths):
    with pytest.raises(InputError):
        list_samples(paths)


def test_folder_whose_name_ends_like_a_manifest(images):
    (images / "a").rename(images / "a.csv")
    assert summary(list_samples("a.csv")) == [("0", None), ("1", None)]
