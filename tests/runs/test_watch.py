"""Which files of a folder have arrived, look by look."""

import pytest

from vlad.errors import InputError
from vlad.results.folder import RunFolder
from vlad.results.rows import Row
from vlad.runs.watch import Arrivals


@pytest.fixture
def camera(tmp_path):
    folder = tmp_path / "camera"
    folder.mkdir()
    return folder


@pytest.fixture
def arrivals(camera, tmp_path):
    run = RunFolder(tmp_path / "run", {"memory": (0.0, 1.0)}, {"root": str(camera)})
    return Arrivals(camera, run.create())


def names(arrivals) -> list[str]:
    return [sample.path.name for sample in arrivals.look()]


def test_a_file_that_grows_waits_until_two_looks_agree(arrivals, camera):
    with open(camera / "a.png", "wb", buffering=0) as file:
        for _ in range(4):
            file.write(b"part")
            assert names(arrivals) == []
    assert names(arrivals) == ["a.png"]


@pytest.mark.parametrize("empty", [True, False])
def test_what_failed_while_the_folder_was_away_is_tried_again(arrivals, camera, tmp_path, empty):
    for name in ("a.png", "b.png"):
        (camera / name).write_text(name)
    assert names(arrivals) == []
    assert names(arrivals) == ["a.png", "b.png"]
    path = str(camera / "a.png")
    arrivals.folder.append([Row(path, {"memory": 0.5})])
    arrivals.folder.append([Row(str(camera / "b.png"), error="there is no such file")])
    assert names(arrivals) == []  # a file that is bad is not tried again and again

    camera.rename(tmp_path / "away")
    if empty:  # such as the place where a share was mounted
        camera.mkdir()
        assert names(arrivals) == []
        camera.rmdir()
    else:
        with pytest.raises(InputError, match="cannot list"):
            arrivals.look()
    (tmp_path / "away").rename(camera)
    assert names(arrivals) == []
    assert names(arrivals) == ["b.png"]
    assert names(arrivals) == []


def test_a_link_beside_its_image_is_not_scored_as_well(arrivals, camera):
    (camera / "b.png").write_text("b")
    (camera / "a.png").symlink_to(camera / "b.png")
    assert names(arrivals) == []
    (found,) = arrivals.look()
    assert (found.path.name, found.id) == ("a.png", "a")
    arrivals.folder.append([Row(str(found.path), {"memory": 0.5})])
    assert names(arrivals) == names(arrivals) == []


def test_a_file_that_is_no_image_is_named_once(arrivals, camera, recwarn):
    (camera / "a.png.part").touch()
    (camera / "raw.nef").touch()
    arrivals.look()
    (camera / "a.png.part").rename(camera / "a.png")  # such is how files come
    for _ in range(3):
        arrivals.look()
    (sentence,) = [str(warning.message) for warning in recwarn]
    assert "1 file passed over" in sentence and str(camera / "raw.nef") in sentence


def test_an_image_that_is_replaced_comes_again(arrivals, camera):
    from vlad.results.rows import Row, State

    file = camera / "a.png"
    file.write_bytes(b"one")
    arrivals.look()
    assert names(arrivals) == ["a.png"]
    path = str(file)
    arrivals.folder.rows[path] = Row(path, {"memory": 0.5}, state=State.of(file))
    assert names(arrivals) == []
    file.write_bytes(b"another")
    assert names(arrivals) == []  # it may still grow
    assert names(arrivals) == ["a.png"]
