"""A part of a video as a file: which frames, unchanged, in which container."""

import av
import numpy as np
import pytest
from clips import grey, write_clip

from vlad.errors import InputError, OutputError
from vlad.images.video import Video, read_frames
from vlad.images.video.cut import cut_clip

LEVELS = [5 * n for n in range(50)]  # 10 a second, so position 10 times the number


def levels(path):
    frames = read_frames(Video.of(str(path)), print)
    return [float(np.asarray(frame.image(10**6, "it")).mean()) for frame in frames]


@pytest.fixture
def clip(tmp_path):
    frames = [grey(level) for level in LEVELS]
    return write_clip(tmp_path / "clip.mkv", frames, codec="ffv1", pixels="bgra")


def test_a_second_on_each_side_is_cut_out_too(clip, tmp_path):
    cut = cut_clip(Video.of(str(clip)), 2.0, 2.5, tmp_path / "cut" / "0001")
    assert cut == tmp_path / "cut" / "0001.mkv"
    # key frames only, so that it begins where it should; the frames are the same to the bit
    assert levels(cut) == LEVELS[10:36]
    with av.open(str(cut)) as container:
        assert next(container.decode(video=0)).time == 0


def test_a_part_at_the_ends_is_as_long_as_there_are_frames(clip, tmp_path):
    assert levels(cut_clip(Video.of(str(clip)), 0.2, 0.3, tmp_path / "a")) == LEVELS[:14]
    assert levels(cut_clip(Video.of(str(clip)), 4.8, 4.9, tmp_path / "b")) == LEVELS[38:]


def test_it_begins_with_the_key_frame_before(tmp_path):
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10, options={"sc_threshold": "1000000000"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = 15
        for level in LEVELS:
            frame = av.VideoFrame.from_ndarray(grey(level), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    cut = cut_clip(Video.of(str(path)), 3.0, 3.0, tmp_path / "cut")
    assert cut.suffix == ".mp4"
    assert levels(cut) == pytest.approx(LEVELS[15:41], abs=4)


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "libx264"), ("ts", "mpeg2video")])
def test_a_seek_that_leads_behind_the_key_frame_costs_no_frames(tmp_path, suffix, codec):
    path = tmp_path / f"clip.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = 20
        stream.codec_context.max_b_frames = 2
        for number in range(120):
            frame = av.VideoFrame.from_ndarray(grey(2 * number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = levels(cut_clip(Video.of(str(path)), 3.0, 3.0, tmp_path / "cut"))
    # 25 frames a second, and a key frame every 20 or so: 2 s to 4 s, and up to one such group more
    assert 2 * 27 <= found[0] <= 2 * 51 and found[-1] >= 2 * 98
    assert found == sorted(found)


def test_what_cannot_be_cut_is_one_sentence(clip, tmp_path):
    gone = Video.of(str(clip))
    clip.unlink()
    with pytest.raises(InputError, match=r"no clip can be cut from .*clip\.mkv"):
        cut_clip(gone, 0, 1, tmp_path / "cut")


def test_a_stream_without_time_stamps_is_not_cut(tmp_path):
    frames = [grey(level) for level in LEVELS]
    path = write_clip(tmp_path / "clip.h264", frames, codec="libx264")
    with pytest.raises(InputError, match=r"no clip can be cut from .*clip\.h264"):
        cut_clip(Video.of(str(path)), 2.0, 2.5, tmp_path / "cut" / "0001")
    assert not list((tmp_path / "cut").iterdir())  # nothing half written


def test_a_place_that_cannot_be_written_is_said(clip, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        cut_clip(Video.of(str(clip)), 0, 1, tmp_path / "file" / "0001")
