"""What is read as video, and that no sentence shows a password."""

import sys

import pytest

from vlad.errors import InputError
from vlad.images.video import Video


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("rtsp://me:hunter2@camera:554/line?token=hunter2", "camera:554/line"),
        ("RTSP://camera/line", "camera/line"),
        ("https://me:hunter2@camera/line", "camera/line"),
        ("http://me:hunter2@[::1]:80/line#hunter2", "[::1]:80/line"),
    ],
)
def test_a_stream_is_named_without_its_password(url, name):
    video = Video.of(url)
    assert (video.name, video.live, video.address) == (name, True, url)
    assert "hunter2" not in repr(video)


@pytest.mark.parametrize("url", ["ftp://me:hunter2@camera/", "rtsp://", "rtsp://camera:x/hunter2"])
def test_other_urls_are_refused_and_not_repeated(url):
    with pytest.raises(InputError, match="is not a stream with a host") as refused:
        Video.of(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("system", "address", "device"),
    [("linux", "/dev/video2", "v4l2"), ("darwin", "2", "avfoundation")],
)
def test_a_camera_by_its_number(monkeypatch, system, address, device):
    monkeypatch.setattr(sys, "platform", system)
    video = Video.of("2")
    assert (video.address, video.device, video.live) == (address, device, True)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InputError, match="by its number on Windows"):
        Video.of("2")


def test_a_camera_by_its_device():
    assert Video.of("/dev/video0").device == "v4l2"


def test_files_and_folders(tmp_path, monkeypatch):
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "a.png").touch()
    (tmp_path / "7").mkdir()
    monkeypatch.chdir(tmp_path)
    video = Video.of("clip.mp4")
    assert (video.name, video.address, video.live) == (
        "clip.mp4",
        str(tmp_path / "clip.mp4"),
        False,
    )
    # a folder, an image, nothing, and a folder whose name is a number
    assert [Video.of(x) for x in (str(tmp_path), "a.png", "none.mp4", "7")] == [None] * 4
