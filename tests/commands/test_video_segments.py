"""vlad video --segments with head flashback, against a slow plain version."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from clips import table
from PIL import Image

from vlad.cli import main
from vlad.heads import load_head
from vlad.scoring.panel import Panel

RATE = 7  # frames a second: three or four in a half second
HEAD = ["--head", "flashback", "--category", "street", "--param", "flashback.score_by=softmax"]


@pytest.fixture
def frames(drawn, tmp_path):
    """A folder of 40 frames, the tenth of them damaged."""
    folder = tmp_path / "walk"
    folder.mkdir()
    for number in range(40):
        pixels = np.asarray(drawn[number % 6].resize((64, 64)))
        Image.fromarray(np.roll(pixels, number, axis=1)).save(folder / f"{number:03}.png")
    (folder / "010.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def video(small_file, tmp_path):
    """Runs `vlad video` -> click's result."""

    def run(*words, out=tmp_path / "run"):
        options = ["--backbone", small_file, "--device", "cpu", "--smooth", "none", "--out", out]
        return CliRunner().invoke(main, list(map(str, ["video", *words, *options])))

    return run


def scores(out):
    return [float(row["flashback"] or "nan") for row in table(out / "scores.csv")]


def cut(out, count):
    """Leave the rows of some frames, as a killed command does."""
    file = out / "scores.csv"
    kept = table(file)[:count]
    with open(file, "w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, ["path", "flashback", "error"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)


@pytest.fixture
def plain(small_backbone):
    """Frame scores by loops over whole segments."""
    head = load_head("flashback", score_by="softmax")
    panel = Panel(small_backbone, {"flashback": head})

    def score(files, rate):
        seen = {}
        for number, file in enumerate(files):
            try:
                image = Image.open(file).convert("RGB")
            except OSError:
                continue
            features, text = panel.inputs("flashback", panel.prepare(image), "street")
            seen[number] = F.normalize(features.image, dim=-1)
        of_segments = {}
        last = (len(files) - 1) / rate
        for start in np.arange(0, math.floor(last * 2) / 2, 0.5):
            inside = [n for n in seen if start <= n / rate < start + 1]
            mean = torch.stack([seen[n] for n in inside]).mean(dim=0)
            found = head.score(type(features)(mean, {}, (1, 1), (8, 8)), text)
            of_segments[start] = float(found.image_score)
        return [
            np.mean([x for start, x in of_segments.items() if start <= n / rate < start + 1])
            if n in seen
            else math.nan
            for n in range(len(files))
        ]

    return score


def test_a_frame_gets_the_mean_of_its_segments(video, frames, plain, tmp_path):
    done = video(frames, *HEAD, "--frame-rate", RATE, "--segments")
    assert done.exit_code == 0, done.output
    assert "Segments of 1 s that overlap by half" in done.stderr and "1 failed" in done.output
    found = scores(tmp_path / "run")
    expected = plain(sorted(frames.iterdir()), RATE)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # all frames of half a second have one score, and the next half second another
    assert found[0] == found[3] and abs(found[3] - found[4]) > 1e-4
    each = video(frames, *HEAD, "--frame-rate", RATE, out=tmp_path / "each")
    assert each.exit_code == 0, each.output
    assert np.nanmax(np.abs(np.subtract(scores(tmp_path / "each"), found))) > 1e-3


@pytest.mark.parametrize("rows", [2, 11, 39])
def test_a_stopped_run_goes_on_within_a_segment(video, frames, tmp_path, rows):
    words = (frames, *HEAD, "--frame-rate", RATE, "--segments")
    assert video(*words).exit_code == 0
    whole = scores(tmp_path / "run")
    cut(tmp_path / "run", rows)
    done = video(*words, "--resume")
    assert done.exit_code == 0, done.output
    assert f"continuing after frame {rows - 1}" in done.stderr
    assert scores(tmp_path / "run") == pytest.approx(whole, abs=1e-6, nan_ok=True)
    assert video(*words, "--resume").exit_code == 0
    assert scores(tmp_path / "run") == pytest.approx(whole, abs=1e-6, nan_ok=True)


def test_a_half_second_without_neighbours_is_a_segment(video, frames, tmp_path):
    for out, more in (("run", ["--segments"]), ("each", [])):
        done = video(frames, *HEAD, "--frame-rate", 1, *more, out=tmp_path / out)
        assert done.exit_code == 0, done.output
    found, each = (scores(tmp_path / out) for out in ("run", "each"))
    np.testing.assert_allclose(found, each, atol=1e-6)


def test_runs_and_thresholds_of_frames_are_not_for_segments(video, frames, tmp_path):
    assert video(frames, *HEAD, "--begin-above", 0.5).exit_code == 0
    done = video(frames, *HEAD, "--begin-above", 0.5, "--segments", "--resume")
    assert done.exit_code == 2 and "sampling.segments: False there, True now" in done.stderr


@pytest.mark.parametrize(
    "words, says",
    [
        (["--head", "winclip", "--category", "nut"], "one head, flashback or vlm, not by winclip"),
        (["--head", "flashback,winclip", "--category", "street"], "not by flashback, winclip"),
        ([*HEAD, "--tile", 32], "Segments are of whole frames"),
        (["--motion", "MOVING"], "leave out --segments"),
    ],
)
def test_what_cannot_be_scored_by_segments_is_refused(video, frames, tmp_path, words, says):
    words = [frames if word == "MOVING" else word for word in words]
    done = video(frames, *words, "--segments")
    assert done.exit_code == 2 and says in done.stderr, done.output
    assert not (tmp_path / "run" / "scores.csv").exists()
