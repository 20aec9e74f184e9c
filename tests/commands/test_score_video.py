"""vlad score on a video file: a row for each of its frames."""

import os

import numpy as np
import pytest
from clips import write_clip
from PIL import Image


def test_frames_of_a_video_are_images(vlad, rows, images, tmp_path):
    first = np.asarray(Image.open(images / "0.png").convert("RGB"))
    Image.fromarray(first[:, ::-1]).save(tmp_path / "1.png")
    frames = [np.ascontiguousarray(first[:, :: -1 if n % 2 else 1]) for n in range(12)]
    clip = write_clip(tmp_path / "clip.mkv", frames, codec="ffv1", pixels="bgra")
    out, normal = tmp_path / "run", ["--normal", images / "0.png"]
    done = vlad(clip, "--every", 3, *normal, "--out", out)
    assert done.exit_code == 0, done.output
    found = rows(out)
    names = [f"{n:06}.png" for n in (0, 3, 6, 9)]
    assert [os.path.basename(row["path"]) for row in found] == names
    kept = out / "frames" / "clip.mkv" / "000003.png"
    # between colour formats, values may be rounded
    assert np.asarray(Image.open(kept)) == pytest.approx(frames[3], abs=2)
    plain = vlad(images / "0.png", tmp_path / "1.png", *normal, "--out", tmp_path / "plain")
    assert plain.exit_code == 0, plain.output
    scores = [float(row["memory"]) for row in rows(tmp_path / "plain")]
    assert [float(row["memory"]) for row in found] == pytest.approx(scores * 2, rel=0.02, abs=1e-4)
    for words, said in (
        ([clip, images], "is a video, and other paths are not"),
        ([images, "--fps", 2], "choose frames of video files"),
    ):
        refused = vlad(*words, *normal, "--out", tmp_path / "none")
        assert refused.exit_code == 2 and said in refused.stderr
