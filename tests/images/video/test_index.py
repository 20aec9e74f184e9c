"""Frames that are due are those of full decoding, whatever is not decoded on the way."""

from fractions import Fraction

import av
import numpy as np
import pytest
from clips import grey, write_clip
from PIL import Image

from vlad.images.video import Chosen, Sampling, Video, read_frames
from vlad.images.video import file as files
from vlad.images.video.index import Index

OPEN = {"x264-params": "open-gop=1:keyint=40:min-keyint=40:bframes=4:b-pyramid=normal:scenecut=0"}
ENCODERS = [
    ("mpeg4", "mp4", {}),
    ("mpeg4", "avi", {}),
    ("mpeg2video", "ts", {}),
    ("ffv1", "mkv", {}),
    ("libx264", "mp4", {}),
    ("libx264", "ts", OPEN),
    ("libx264", "mkv", {"x264-params": "intra-refresh=1:keyint=40"}),
    ("libx265", "mkv", {"x265-params": "keyint=30:log-level=none"}),
    ("libvpx-vp9", "webm", {}),
]


def moving(path, codec, options, count=620, uneven=True):
    """A clip whose frames all differ, with key frames far apart and uneven time stamps."""
    generator = np.random.default_rng(0)
    noise = Image.fromarray(generator.integers(0, 256, (8, 90, 3)).astype(np.uint8))
    scene = np.asarray(noise.resize((720, 64)))
    with av.open(str(path), "w") as container:
        try:
            stream = container.add_stream(codec, rate=25, options=options)
        except (ValueError, av.FFmpegError):
            pytest.skip(f"this build of PyAV has no encoder {codec}")
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.gop_size = 50
        if codec.startswith("mpeg") and path.suffix != ".avi":
            stream.codec_context.max_b_frames = 2
        at = 0
        for number in range(count):
            image = np.ascontiguousarray(scene[:, number : number + 64])
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 25)
            at += 1 + (3 if uneven and number % 7 == 0 else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Video.of(str(path))


def shown(frames):
    return [
        (f.number, f.seconds, f.time, np.asarray(f.image(10**6, "it")).tobytes()) for f in frames
    ]


@pytest.mark.parametrize(("codec", "kind", "options"), ENCODERS)
def test_due_frames_are_those_of_full_decoding(codec, kind, options, tmp_path):
    video = moving(tmp_path / f"a.{kind}", codec, options, uneven=kind != "avi")
    every = list(read_frames(video, print))
    assert len(every) == 620 or codec == "libvpx-vp9"
    with av.open(video.address) as container:
        assert Index.of(container) is not None
    for sampling in (Sampling(fps=2), Sampling(every=7), Sampling(every=300)):
        due = list(read_frames(video, print, sampling))
        assert due and shown(due) == shown(sampling(every))


def test_frames_that_are_not_due_are_not_decoded(tmp_path, monkeypatch):
    video = moving(tmp_path / "a.avi", "mpeg4", {}, count=400)
    with av.open(video.address) as container:
        index = Index.of(container)
    # key frames are 50 apart, so the last 20 of each 50 are needed for none of these
    assert index.ranges([0, 30, 210]) == [(0, 30), (200, 210)]
    assert index.ranges([44, 55]) == [(0, 55)]

    def refuse(*_):
        raise AssertionError("all frames were decoded")

    monkeypatch.setattr(files, "decoded", refuse)
    assert [f.number for f in read_frames(video, print, Sampling(every=100))] == [0, 100, 200, 300]
    chosen = Chosen(frozenset([399, 2]))
    assert [f.number for f in read_frames(video, print, chosen)] == [2, 399]


def test_a_file_that_ends_early_or_is_damaged_is_decoded_as_a_whole(tmp_path):
    images = [grey(6 * n) for n in range(40)]
    whole = write_clip(tmp_path / "a.mkv", images, codec="ffv1", pixels="bgra").read_bytes()
    cut, broken = tmp_path / "cut.mkv", tmp_path / "broken.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    content = write_clip(tmp_path / "b.mp4", images).read_bytes()
    place = content.index(b"mdat") + len(content) // 3
    broken.write_bytes(content[:place] + bytes(400) + content[place + 400 :])
    every, told = Sampling(every=2), {}
    for path in (cut, broken):
        video, plain, said = Video.of(str(path)), [], []
        frames = list(read_frames(video, plain.append))
        due = list(read_frames(video, said.append, every))
        assert shown(due) == shown(every(frames)) and 1 < len(due) <= 20
        assert said == plain
        told[path] = "".join(said)
    assert "ends early" in told[cut] and "damaged part" in told[broken]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", {}),
        ("a.mov", {"codec": "png", "pixels": "rgb24"}),  # packets do not tell which frame is which
    ],
)
def test_frames_after_damage_keep_their_numbers(name, codec, tmp_path):
    path = write_clip(tmp_path / name, [grey(6 * n) for n in range(40)], **codec)
    content = bytearray(path.read_bytes())
    place = content.index(b"mdat") + len(content) // 3
    content[place : place + 400] = bytes(400)
    path.write_bytes(content)
    for sampling in (None, Sampling(), Sampling(every=3)):
        frames = list(read_frames(Video.of(str(path)), lambda _: None, sampling))
        numbers = [frame.number for frame in frames]
        step = sampling.every if sampling else 1
        assert numbers[-1] == 39 and len(numbers) < len(range(0, 40, step))
        assert [round(f.small().mean() / 6) for f in frames] == numbers
        assert [f.seconds for f in frames] == pytest.approx([n / 10 for n in numbers])
