"""Frames of a video as images of a run: which come, what they are named, which are kept."""

import os

import numpy as np
import pytest
from clips import grey, write_clip
from PIL import Image

from vlad.errors import InputError
from vlad.images.video import Sampling, Video
from vlad.results.folder import RunFolder
from vlad.results.rows import Row
from vlad.runs.frames import Footage, Frames


@pytest.fixture
def clip(tmp_path):
    images = [grey(x) for x in (20, 60, 100, 140, 180)]
    return write_clip(tmp_path / "clip.mkv", images, codec="ffv1", pixels="bgra")


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run", {"memory": (0.0, 1.0)}, {"root": str(tmp_path)}).create()


def frames_of(clip, run, said=None, **options):
    footage = Footage(Video.of(str(clip)), **options)
    return Frames(footage, run, "nut", 10**6, (said if said is not None else []).append)


def test_frames_are_named_by_source_and_number(clip, run):
    with frames_of(clip, run, sampling=Sampling(every=2)) as frames:
        samples = list(frames.look())
        assert [s.id for s in samples] == [f"clip.mkv/00000{n}" for n in (0, 2, 4)]
        assert samples[1].path == run.out / "frames" / "clip.mkv" / "000002.png"
        assert {s.category for s in samples} == {"nut"}
        assert np.asarray(frames(samples[1].path)).mean() == 100
        assert frames.ended


def test_it_goes_on_after_the_last_row_of_the_same_source(clip, run):
    folder = run.out / "frames"
    run.append([Row(str(folder / "clip.mkv" / "000001.png"), {"memory": 0.5})])
    run.append([Row(str(folder / "other.mkv" / "000003.png"), {"memory": 0.5})])
    said = []
    with frames_of(clip, run, said) as frames:
        assert [s.id[-1] for s in frames.look()] == ["2", "3", "4"]
    assert said == [f"{clip}: continuing after frame 1."]


@pytest.mark.parametrize("length", [5, 2])
def test_another_video_of_that_name_is_not_taken_for_the_one_with_rows(clip, run, tmp_path, length):
    with frames_of(clip, run) as frames:
        for sample in list(frames.look())[:4]:
            path = str(sample.path)
            frames(sample.path)
            run.append([Row(path, {"memory": 0.5}, state=frames.states[path])])
    (tmp_path / "later").mkdir()
    images = [grey(200)] * length
    other = write_clip(tmp_path / "later" / "clip.mkv", images, codec="ffv1", pixels="bgra")
    changed = os.stat(clip).st_mtime - 0.1 * (5 - length)  # it ends where its last frame does
    os.utime(other, (changed + 3, changed + 3))
    said = []
    with (
        frames_of(other, run, said) as frames,
        pytest.raises(InputError, match="is not the video whose frames up to 3 are in"),
    ):
        list(frames.look())
    assert said == []
    # as one that is copied while it is recorded, whose last change is not quite its end
    os.utime(clip, (changed + 1, changed + 1))
    with frames_of(clip, run, said) as frames:
        assert [s.id[-1] for s in frames.look()] == ["4"]


@pytest.mark.parametrize(("keep", "kept"), [("anomalous", [1]), ("all", [0, 1]), ("none", [])])
def test_which_frames_are_kept(clip, run, keep, kept):
    with frames_of(clip, run, keep=keep) as frames:
        samples = list(frames.look())[:3]
        for sample in samples:
            frames(sample.path)
        paths = [str(sample.path) for sample in samples]
        rows = [Row(path, {"memory": 0.5}, state=frames.states[path]) for path in paths[:2]]
        rows.append(Row(paths[2], error="it failed", state=frames.states[paths[2]]))
        after = frames.keep(rows, paths[1:])
    assert [n for n, path in enumerate(paths) if os.path.exists(path)] == kept
    for n, row in enumerate(after):
        assert row.state.read == rows[n].state.read  # when it was captured
        if n in kept:
            found = os.stat(paths[n])
            assert row.state[:2] == (found.st_size, found.st_mtime_ns)
            assert frames.states[paths[n]] == row.state
            with Image.open(paths[n]) as image:
                assert image.getpixel((0, 0)) == (20 + 40 * n,) * 3
