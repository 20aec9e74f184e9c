"""Labels of the images of a run, as `vlad calibrate --labels` reads them."""

import os

import pytest

from vlad.errors import InputError
from vlad.results.folder import RunFolder
from vlad.results.levels import read_levels
from vlad.results.rows import Row
from vlad.scoring.record import digest_of


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run over parts/, made in line/, with paths relative to there."""
    (tmp_path / "line" / "parts").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "line")
    names = ["a.png", "b.png", os.fsdecode(b"c\xff.png"), "d.png"]
    for name in names:
        with open(os.path.join("parts", name), "w", errors="surrogateescape") as file:
            file.write(name)
    folder = RunFolder(tmp_path / "run", {"memory": (0.0, 1.0)}, {}).create()
    folder.append([Row(f"parts/{name}", {"memory": 0.5}) for name in names[:3]])
    folder.append([Row("parts/d.png", {}, "broken")])
    return folder


def found(run, file):
    levels, unknown = read_levels(file, run)
    return {os.path.basename(path): level for path, level in levels.items()}, unknown


def test_labels_of_the_report_may_be_saved_anywhere(run, tmp_path):
    text = (
        "path,label,kind,digest,by,time\n"
        f"parts/a.png,defective,scratch,{digest_of('parts/a.png')},Ann,2026-11-29T10:00:00Z\n"
        "parts/c\\xff.png,good,,,,\n"
        "parts/d.png,good,,,,\nparts/e.png,good,,,,\n"
    )
    expected = {"a.png": 1, os.fsdecode(b"c\xff.png"): 0}, ["parts/d.png", "parts/e.png"]
    for folder in (tmp_path / "line", tmp_path / "downloads"):
        folder.mkdir(exist_ok=True)
        (folder / "labels.csv").write_text(text)
        assert found(run, folder / "labels.csv") == expected


def test_a_file_beside_the_labels_is_not_taken_for_one_of_the_run(run, tmp_path):
    other = tmp_path / "other"
    (other / "parts").mkdir(parents=True)
    (other / "parts" / "a.png").write_text("another image")
    (other / "labels.csv").write_text("path,label\nparts/a.png,1\n../line/parts/b.png,0\n")
    assert found(run, other / "labels.csv") == ({"b.png": 0}, ["parts/a.png"])


def test_a_label_of_an_image_that_changed_is_refused(run, tmp_path):
    digest = digest_of("parts/a.png")
    (tmp_path / "labels.csv").write_text(f"path,label,digest\nparts/a.png,good,{digest}\n")
    assert found(run, tmp_path / "labels.csv")[0] == {"a.png": 0}
    with open("parts/a.png", "w") as file:
        file.write("the next part")
    with pytest.raises(InputError, match=r"1 image changed since .*: parts/a\.png; label"):
        read_levels(tmp_path / "labels.csv", run)


def test_two_labels_of_an_image_are_refused(run, tmp_path):
    (tmp_path / "labels.csv").write_text("path,label\nparts/a.png,1\nline/parts/a.png,0\n")
    with pytest.raises(InputError, match=r"labels .*a\.png twice, and differently"):
        read_levels(tmp_path / "labels.csv", run)
