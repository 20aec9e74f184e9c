"""The files that labels are about: found, or refused by name and count."""

import pytest

from vlad.errors import InputError
from vlad.review.files import find_files
from vlad.review.labels import Label
from vlad.scoring.record import digest_of


@pytest.fixture
def parts(tmp_path):
    """Three files below parts/."""
    for name in "abc":
        (tmp_path / "parts").mkdir(exist_ok=True)
        (tmp_path / "parts" / f"{name}.png").write_bytes(name.encode())
    return tmp_path


def label(path, parts=None, word="good", **more):
    return Label(path, word, digest=digest_of(parts / path) if parts else "", **more)


def test_files_beside_the_labels_and_in_another_folder(parts, monkeypatch):
    labels = [label("parts/a.png", parts), label("old/b.png"), label(str(parts / "parts/c.png"))]
    found = find_files(labels, [parts, parts / "parts"])
    assert [x.file.name for x in found] == ["a.png", "b.png", "c.png"]
    assert found[1].label.digest == digest_of(parts / "parts/b.png")
    monkeypatch.chdir(parts)
    assert len(find_files(labels[:1], [])) == 1
    (parts / "new/parts").mkdir(parents=True)
    (parts / "new/parts/a.png").write_bytes(b"other")  # the folder named first is meant
    (found,) = find_files([label("parts/a.png")], [parts / "new", parts])
    assert found.file == parts / "new/parts/a.png"


def test_a_file_of_another_content_is_passed_over(parts):
    wanted = label("parts/a.png", parts)
    (parts / "new/parts").mkdir(parents=True)
    (parts / "new/parts/a.png").write_bytes(b"other")
    (found,) = find_files([wanted], [parts / "new", parts])
    assert found.file == parts / "parts/a.png"


def test_changed_and_missing_files_are_refused_by_name_and_count(parts):
    labels = [label(f"parts/{name}.png", parts) for name in "abc"]
    (parts / "parts/b.png").write_bytes(b"other")
    says = r"1 of 3 labelled images changed since they were labelled: parts/b\.png; label them"
    with pytest.raises(InputError, match=says):
        find_files(labels, [parts])
    (parts / "parts/b.png").unlink()
    says = r"1 of 3 labelled images not found: parts/b\.png; correct the paths, or give the folder"
    with pytest.raises(InputError, match=says):
        find_files(labels, [parts])


def test_one_content_under_two_names(parts):
    (parts / "parts/copy.png").write_bytes(b"a")
    labels = [label("parts/a.png"), label("parts/copy.png")]
    assert len(find_files(labels, [parts])) == 1
    labels[1] = label("parts/copy.png", word="defective")
    with pytest.raises(InputError, match="contradict each other"):
        find_files(labels, [parts])
