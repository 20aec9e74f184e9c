"""A folder of frames as a video: order, positions, and what is no image."""

import os

import numpy as np
import pytest
from clips import grey
from PIL import Image

from vlad.errors import ImageError, InputError
from vlad.images.video import Changes, Sampling, Video, read_frames


@pytest.fixture
def folder(tmp_path):
    """Frames 1, 2, 3, ... 12 of one brightness each, and other files."""
    for number in range(1, 13):
        Image.fromarray(grey(10 * number)).save(tmp_path / f"f{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def frames_of(folder, rate=4.0, sampling=None):
    return list(read_frames(Video.of_folder(folder, rate), print, sampling))


def brightness(frame):
    return round(float(np.asarray(frame.image(10**6, "it")).mean()))


def test_numbers_in_names_count_by_value(folder):
    frames = frames_of(folder)
    assert [brightness(frame) for frame in frames] == [10 * n for n in range(1, 13)]
    assert [frame.number for frame in frames] == list(range(12))
    assert [frame.seconds for frame in frames] == [n / 4 for n in range(12)]


def test_names_of_one_number_have_an_order(folder, monkeypatch):
    names = ["f02.png", "f2.png", "f²2.png", "f1.png"]
    for name in names:
        Image.new("RGB", (16, 16)).save(folder / name)
    for listed in (names, names[::-1]):
        monkeypatch.setattr(os, "listdir", lambda path, listed=listed: listed)
        found = [frame.path.name for frame in frames_of(folder)]
        assert found == ["f1.png", "f02.png", "f2.png", "f²2.png"]


def test_time_is_that_of_the_first_file_and_the_position(folder):
    os.utime(folder / "f1.png", (1000, 1000))
    os.utime(folder / "f2.png", (5000, 5000))
    assert [frame.time / 1e9 for frame in frames_of(folder)][:3] == [1000, 1000.25, 1000.5]


def test_frames_that_are_due(folder):
    assert [frame.number for frame in frames_of(folder, 4, Sampling(every=5))] == [0, 5, 10]
    assert [frame.number for frame in frames_of(folder, 4, Sampling(fps=1))] == [0, 4, 8]


def test_a_file_that_cannot_be_read_is_an_error_of_its_frame(folder):
    (folder / "f3.png").write_bytes(b"no image")
    frames = frames_of(folder)
    with pytest.raises(ImageError, match=r"f3\.png"):
        frames[2].image(10**6, "it")
    assert brightness(frames[3]) == 40
    # it differs from the frame before, so that its error gets a row
    changes = Changes(50.0)
    assert [changes(frame) for frame in frames[:3]] == [True, False, True]


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="holds no images"):
        frames_of(tmp_path)
    with pytest.raises(InputError, match="cannot list"):
        frames_of(tmp_path / "none")
