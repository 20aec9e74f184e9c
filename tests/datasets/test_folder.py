"""Which images files, folders and patterns name, in which order, under which ids."""

import os
import random
import re
from pathlib import Path

import pytest

from vlad.datasets.folder import list_images
from vlad.errors import InputError

TREE = [
    "a/0.png",
    "a/1.PNG",
    "a/deep/er/2.tif",
    "a-b/3.jpg",
    "b/4.jpeg",
    "b/notes.txt",
    "b/.hidden.png",
    ".cache/5.png",
    "top.webp",
]
FILES = ["a/0.png", "a/1.PNG", "a/deep/er/2.tif", "a-b/3.jpg", "b/4.jpeg", "top.webp"]


def fill(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def tree(tmp_path, monkeypatch):
    fill(tmp_path, TREE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(samples):
    return [sample.path.as_posix() for sample in samples]


def ids(samples):
    return [sample.id for sample in samples]


def test_folder_is_searched_to_its_depths_sorted_without_hidden_files(tree):
    samples = list_images(tree)
    found = [sample.path.relative_to(tree).as_posix() for sample in samples]
    # by whole names: folder a before a-b
    assert found == FILES
    assert ids(samples) == ["a/0", "a/1", "a/deep/er/2", "a-b/3", "b/4", "top"]
    assert all((s.label, s.defect, s.mask, s.category) == (None,) * 4 for s in samples)


def test_arguments_keep_their_order_and_repeated_files_are_dropped(tree):
    samples = list_images(["b", "a/1.PNG", "a", "./a/0.png", tree / "b/4.jpeg", "a/*"])
    assert names(samples) == ["b/4.jpeg", "a/1.PNG", "a/0.png", "a/deep/er/2.tif"]
    assert ids(samples) == ["b/4", "a/1", "a/0", "a/deep/er/2"]


def test_named_file_of_any_suffix_is_taken(tree):
    assert ids(list_images("b/notes.txt")) == ["notes"]
    assert ids(list_images(Path("b/.hidden.png"))) == [".hidden"]


def test_hidden_folder_is_taken_when_named(tree):
    assert names(list_images([".", ".cache"]))[-1] == ".cache/5.png"


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("a/*.png", ["a/0.png"]),
        ("a/[0-9].*", ["a/0.png", "a/1.PNG"]),
        ("?/*", ["a/0.png", "a/1.PNG", "a/deep/er/2.tif", "b/4.jpeg"]),
        ("b/*", ["b/4.jpeg"]),
        ("*/", FILES[:-1]),
        ("**/*.tif", ["a/deep/er/2.tif"]),
        ("**", FILES),
        ("a/**", FILES[:3]),
        ("a/**/*.*", FILES[:3]),
        ("**/deep", ["a/deep/er/2.tif"]),
        ("**/er/**/*.tif", ["a/deep/er/2.tif"]),
        ("**/[0-9].jp*g", ["a-b/3.jpg", "b/4.jpeg"]),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_patterns(tree, pattern, expected, absolute):
    samples = list_images(os.path.join(tree, pattern) if absolute else pattern)
    assert names(samples) == [str(tree / name) if absolute else name for name in expected]


def test_pattern_and_shell_expansion_agree(tree):
    assert list_images("*/") == list_images(["a", "a-b", "b"])


def test_file_whose_name_looks_like_a_pattern(tree):
    fill(tree, ["x[1].png", "x1.png"])
    assert names(list_images("x[1].png")) == ["x[1].png"]


def test_home_is_expanded(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree))
    monkeypatch.setenv("USERPROFILE", str(tree))
    assert list_images("~/b/*.jpeg")[0].path == tree / "b/4.jpeg"


@pytest.mark.parametrize(
    "paths, says",
    [
        ([], "`paths` is empty"),
        ("nowhere", "no file or folder nowhere"),
        (["a", "a/9.png"], "no file or folder a/9.png"),
        ("a/*.gif", "no image matches a/*.gif"),
        ("nowhere/**/*.png", "no image matches nowhere"),
        ("b/*.txt", "no image matches b/*.txt"),
        ("empty", "no images in empty"),
    ],
)
def test_nothing_found_is_one_clear_sentence(tree, paths, says):
    (tree / "empty").mkdir()
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        list_images(paths)
    assert str(caught.value).endswith(".")


def link(place, target):
    try:
        place.symlink_to(target)
    except OSError:
        pytest.skip("no links on this system")


@pytest.mark.parametrize("paths", [".", "**/*.png", "*", ["a", "."]])
def test_loops_of_links_end(tree, paths):
    for i in range(6):
        link(tree / f"a/up{i}", "..")
        link(tree / f"a/deep/self{i}", f"self{i}")
    found = names(list_images(paths))
    assert found[0] == "a/0.png" and len(found) == len(set(found)) <= len(FILES)


def test_links_are_followed_and_lead_to_each_file_once(tree):
    fill(tree, ["elsewhere/9.png"])
    link(tree / "b/also", tree / "elsewhere")
    link(tree / "b/again.png", tree / "elsewhere/9.png")
    samples = list_images("b")
    assert names(samples) == ["b/4.jpeg", "b/again.png"]
    assert ids(samples) == ["4", "again"]


def test_broken_link_stays_so_that_it_becomes_a_row(tree):
    link(tree / "b/gone.png", tree / "nowhere.png")
    assert "gone" in ids(list_images("b"))


def test_ids_count_from_the_folder_above_all_arguments(tree):
    assert ids(list_images("a/deep/er/2.tif")) == ["2"]
    assert ids(list_images(["a/deep/er/2.tif", "b/4.jpeg"])) == ["a/deep/er/2", "b/4"]
    assert ids(list_images(["a", "a/deep"])) == ["0", "1", "deep/er/2"]
    assert ids(list_images("a/deep/")) == ["er/2"]  # the same when other folders join later
    assert ids(list_images("*/*.jpg")) == ["a-b/3"]


def test_ids_do_not_depend_on_the_working_directory_or_the_way_it_is_written(tree, monkeypatch):
    expected = ids(list_images(tree))
    assert ids(list_images(".")) == ids(list_images(tree / "a/..")) == expected
    monkeypatch.chdir(tree / "a")
    assert ids(list_images("..")) == expected


def test_suffix_stays_where_ids_would_clash(tmp_path):
    fill(tmp_path, ["a.png", "a.jpg", "b.png", "a.png.bmp", "c"])
    listed = list_images([tmp_path, tmp_path / "c"])
    assert ids(listed) == ["a.jpg", "a.png", "a.png.bmp", "b", "c"]


HARD = ["A.png", "a.png", "a.jpg", "x?.png", "x_.png", "x_.jpg", "con.png", "dot./1.png", "ü.png"]
HARD += [
    "u\u0308.png",
    "a b.png",
    "q'\"\n.png",
    "sub/a.png",
    "Sub/a.png",
    "a.png.png",
    "\udcff.png",
]


@pytest.mark.skipif(os.name == "nt", reason="such names cannot exist on Windows")
def test_ids_are_unique_and_safe_and_do_not_depend_on_order(tmp_path):
    fill(tmp_path, HARD)
    if len(list(tmp_path.rglob("*.*"))) < len(HARD):
        pytest.skip("this file system folds names")
    listed = list_images(tmp_path)
    by_path = {sample.path: sample.id for sample in listed}
    assert len(by_path) == len(HARD)
    assert len({name.casefold() for name in by_path.values()}) == len(HARD)
    for name in by_path.values():
        assert not re.search(r'[<>:"\\|?*\x00-\x1f\ud800-\udfff]', name)
        for part in name.split("/"):
            assert part not in ("", ".", "..") and part[-1] not in ". "
            assert part.split(".")[0].lower() not in ("con", "prn", "aux", "nul")
        name.encode()
    paths = list(by_path)
    for seed in range(5):
        random.Random(seed).shuffle(paths)
        again = list_images([tmp_path / "sub", *paths, tmp_path])  # twice each
        assert {sample.path: sample.id for sample in again} == by_path
        assert [s.path for s in again][1:] == [p for p in paths if p.parent.name != "sub"]
    assert list_images(tmp_path) == listed
