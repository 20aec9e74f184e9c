"""Frames of videos as image files: names, times, and files that are there already."""

import os

import numpy as np
import pytest
from clips import grey, write_clip
from PIL import Image

from vlad.errors import InputError
from vlad.images.video import Sampling, Video
from vlad.runs.extract import write_frames
from vlad.runs.frames import Footage

LEVELS = (20, 60, 60, 140)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mkv"
    frames = [grey(level) for level in LEVELS]
    created = "2026-01-02T03:04:05Z"
    return write_clip(path, frames, codec="ffv1", pixels="bgra", creation_time=created)


def written(path, out, said=None, max_pixels=10**6, **options):
    footage = Footage(Video.of(str(path)), **options)
    return write_frames([footage], out, max_pixels, (said if said is not None else []).append)


def test_each_frame_is_a_file_without_loss(clip, tmp_path):
    samples = written(clip, tmp_path / "out")
    assert [s.id for s in samples] == [f"clip.mkv/00000{n}" for n in range(4)]
    assert samples[3].path == tmp_path / "out" / "frames" / "clip.mkv" / "000003.png"
    for sample, level in zip(samples, LEVELS, strict=True):
        with Image.open(sample.path) as image:
            assert np.unique(np.asarray(image)).tolist() == [level]
    # last changed when it was captured
    steps = [os.stat(s.path).st_mtime - os.stat(samples[0].path).st_mtime for s in samples]
    assert steps == pytest.approx([0, 0.1, 0.2, 0.3], abs=1e-6)


def test_only_frames_that_are_due_or_differ(clip, tmp_path):
    numbers = [s.id[-1] for s in written(clip, tmp_path / "a", sampling=Sampling(every=3))]
    assert numbers == ["0", "3"]
    assert [s.id[-1] for s in written(clip, tmp_path / "b", changes=5.0)] == ["0", "1", "3"]


def test_files_that_are_there_are_kept(clip, tmp_path):
    first, second, *_ = written(clip, tmp_path / "out")
    kept = os.stat(first.path).st_ino
    Image.fromarray(grey(200)).save(second.path)  # its time is another now
    written(clip, tmp_path / "out")
    assert os.stat(first.path).st_ino == kept
    with Image.open(second.path) as image:
        assert image.getpixel((0, 0)) == (60, 60, 60)


def test_frames_that_cannot_be_used_are_said(tmp_path):
    parts = [
        write_clip(tmp_path / f"{n}.ts", [grey(50, size)] * 3, codec="mpeg2video", rate=25)
        for n, size in enumerate([(64, 48), (96, 80)])
    ]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    said = []
    samples = written(both, tmp_path / "out", said, max_pixels=64 * 48)
    assert {Image.open(sample.path).size for sample in samples} == {(64, 48)}
    assert len([s for s in said if s.startswith("Left out:") and "over the limit" in s]) == 3
    with pytest.raises(InputError, match="has no frame that can be used"):
        written(both, tmp_path / "none", max_pixels=100)


def test_two_clips_of_one_name_are_refused(clip, tmp_path):
    both = [Footage(Video.of(str(clip)))] * 2
    with pytest.raises(InputError, match=r"2 clips are named clip\.mkv"):
        write_frames(both, tmp_path / "out", 10**6, print)
