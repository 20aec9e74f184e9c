"""The frames of video files: order, time, colours, and files that are damaged."""

import builtins
import os
import socket
from datetime import datetime, timezone
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import grey, turn, write_clip, write_sound

from vlad.errors import ImageError, InputError
from vlad.images.video import Sampling, Video, check_video, count_frames, read_frames

LEVELS = [20, 60, 100, 140, 180, 220]


def frames_of(path, said=None):
    return list(read_frames(Video.of(str(path)), [].append if said is None else said.append))


def image_of(frame):
    return np.asarray(frame.image(10**6, "it"))


def levels(frames) -> list[int]:
    return [round(float(image_of(frame).mean())) for frame in frames]


def test_frames_come_in_order_with_number_and_position(tmp_path):
    said = []
    frames = frames_of(write_clip(tmp_path / "a.mp4", [grey(x) for x in LEVELS]), said)
    assert levels(frames) == pytest.approx(LEVELS, abs=3)
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4, 5]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert said == []


def test_time_is_that_of_the_recording(tmp_path):
    images = [grey(x) for x in LEVELS]
    path = write_clip(tmp_path / "a.mkv", images, creation_time="2026-01-02T03:04:05Z")
    began = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc).timestamp()
    assert [f.time / 1e9 for f in frames_of(path)][::5] == pytest.approx([began, began + 0.5])
    # without it, the last change is the end
    path = write_clip(tmp_path / "b.mkv", images)
    os.utime(path, (1000, 1000))
    assert [f.time / 1e9 for f in frames_of(path)][::5] == pytest.approx([999.4, 999.9], abs=0.01)
    # a recording that was cut off states no length
    path = write_clip(tmp_path / "c.mkv", images, options={"live": "1"})
    os.utime(path, (1000, 1000))
    assert [f.time / 1e9 for f in frames_of(path)][::5] == pytest.approx([999.4, 999.9], abs=0.01)


@pytest.mark.parametrize("sampling", [None, Sampling()])
def test_a_first_frame_that_comes_late_is_the_beginning(tmp_path, sampling):
    path, said = tmp_path / "late.mkv", []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgra"
        for number, level in enumerate(LEVELS):
            frame = av.VideoFrame.from_ndarray(grey(level), format="rgb24")
            frame.pts, frame.time_base = 73 + number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    os.utime(path, (1000, 1000))
    frames = list(read_frames(Video.of(str(path)), said.append, sampling))
    assert [f.seconds for f in frames][::5] == pytest.approx([0, 0.5], abs=0.01)
    assert [f.time / 1e9 for f in frames][::5] == pytest.approx([999.4, 999.9], abs=0.01)
    assert said == []


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(fps=2), Sampling(every=3)])
def test_frames_are_counted_as_they_are_at_an_uneven_rate(tmp_path, sampling):
    path = tmp_path / "uneven.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgra"
        for place in (5, 6, 7, 30, 31, 60, 62, 90, 99):
            frame = av.VideoFrame.from_ndarray(grey(place), format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    video = Video.of(str(path))
    found = list(read_frames(video, print, sampling))
    assert count_frames(video, sampling) == len(found) < 10


@pytest.mark.parametrize(
    ("codec", "pixels", "size"),
    [
        ("ffv1", "yuv420p10le", (64, 48)),
        ("ffv1", "yuv444p16le", (50, 38)),
        ("ffv1", "gray", (33, 21)),
        ("ffv1", "gray16le", (32, 20)),
        ("ffv1", "bgra", (31, 17)),
        ("mpeg4", "yuv420p", (66, 34)),
    ],
)
def test_any_pixel_format_becomes_rgb(tmp_path, codec, pixels, size):
    path = write_clip(
        tmp_path / "a.mkv", [grey(70, size), grey(200, size)], codec=codec, pixels=pixels
    )
    frames = frames_of(path)
    assert [image_of(frame).shape for frame in frames] == [(size[1], size[0], 3)] * 2
    assert levels(frames) == pytest.approx([70, 200], abs=3)


def test_hd_colours_are_converted_as_such(tmp_path):
    import av

    # pure green in BT.709, limited range; taken for BT.601 it would be another colour
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.colorspace = 1  # BT.709
        yuv = np.stack([np.full((48, 64), x, np.uint8) for x in (173, 42, 26)])
        frame = av.VideoFrame.from_ndarray(yuv, format="yuv444p")
        frame.colorspace = 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (frame,) = frames_of(path)
    assert image_of(frame)[0, 0].tolist() == pytest.approx([0, 255, 0], abs=4)


def test_rotation_in_the_metadata_is_applied(tmp_path):
    image = grey(40)
    image[:24, :32] = 240  # top left
    path = write_clip(tmp_path / "a.mp4", [image] * 2)
    turned = turn(path, tmp_path / "turned.mp4")
    plain, after = image_of(frames_of(path)[0]), image_of(frames_of(turned)[0])
    assert plain[:20, :28].min() > 200 and after.shape == (64, 48, 3)
    # clockwise, so that the top left corner is at the top right
    assert after[:28, 28:].min() > 200 and after[36:].max() < 80


def test_a_size_that_changes_on_the_way(tmp_path):
    parts = [
        write_clip(tmp_path / "a.ts", [grey(50)] * 3, codec="mpeg2video", rate=25).read_bytes(),
        write_clip(
            tmp_path / "b.ts", [grey(200, (96, 80))] * 3, codec="mpeg2video", rate=25
        ).read_bytes(),
    ]
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    frames = frames_of(tmp_path / "both.ts")
    assert {image_of(frame).shape for frame in frames} == {(48, 64, 3), (80, 96, 3)}


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.mp4"])
def test_a_truncated_tail_is_said_after_the_frames_before_it(tmp_path, name):
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(40)]
    first = {"movflags": "faststart"} if name == "a.mp4" else {}
    codec = {"codec": "mjpeg", "pixels": "yuvj420p"}
    path = write_clip(tmp_path / name, noise, options=first, **codec)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    said = []
    frames = frames_of(path, said)
    assert 10 < len(frames) < 30
    assert any("ends early, after" in sentence for sentence in said)


def test_damage_inside_is_counted_and_the_rest_read(tmp_path):
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(20)]
    path = write_clip(tmp_path / "a.mov", noise, codec="png", pixels="rgb24")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)
    said = []
    assert 15 < len(frames_of(path, said)) < 20
    assert any("damaged" in sentence and "left out" in sentence for sentence in said)


def test_what_is_no_video_is_one_sentence(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    cases = {"text.mp4": "cannot be read as video", "empty.mp4": "cannot be read as video"}
    write_sound(tmp_path / "sound.wav")
    cases["sound.wav"] = "has no video stream"
    for name, words in cases.items():
        for use in (check_video, lambda video: list(read_frames(video, print))):
            with pytest.raises(InputError, match=words):
                use(Video.of(str(tmp_path / name)))


def test_a_video_without_frames(tmp_path):
    path = write_clip(tmp_path / "a.avi", [grey(9)] * 3, codec="mjpeg", pixels="yuvj420p")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"movi") + 4])
    with pytest.raises(InputError, match="has no frame of video"):
        frames_of(path)


@pytest.mark.parametrize("target", ["http://{}/a.ts", "concat:{}"])
def test_a_playlist_leads_to_no_other_place(tmp_path, target):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        place = target.format(f"127.0.0.1:{server.getsockname()[1]}")
        for name in ("list.mp4", "list.m3u8"):
            lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", place, "#EXT-X-ENDLIST"]
            (tmp_path / name).write_text("\n".join([*lines, ""]))
            with pytest.raises(InputError):
                frames_of(tmp_path / name)
        with pytest.raises(BlockingIOError):  # nobody called
            server.accept()


def test_a_frame_may_be_too_large_or_too_small(tmp_path):
    (frame,) = frames_of(write_clip(tmp_path / "a.mkv", [grey(9)]))
    with pytest.raises(ImageError, match="frame 0: its 64×48 pixels are over the limit of 1,000"):
        frame.image(1000, "frame 0")
    (frame,) = frames_of(
        write_clip(tmp_path / "b.mkv", [grey(9, (6, 6))], codec="ffv1", pixels="gray")
    )
    with pytest.raises(ImageError, match="too few to score"):
        frame.image(1000, "frame 0")


def test_frames_beyond_all_limits_are_not_decoded(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mkv", [grey(9)] * 3)
    monkeypatch.setattr("vlad.images.video.opening.DEFAULT_MAX_PIXELS", 3000)
    with pytest.raises(InputError, match=r"has no frame of video: \d parts cannot be"):
        frames_of(path)


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", [grey(9)])
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "av":
            raise ImportError("No module named 'av'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for source in (str(path), "rtsp://camera/line"):
        with pytest.raises(InputError, match=r"pip install 'vlad-vision\[video\]'"):
            check_video(Video.of(source))
