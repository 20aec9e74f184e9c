"""What tests of vlad score, watch and bench share."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from vlad.cli import main


@pytest.fixture
def vlad(small_file):
    """Runs `vlad score` with the small backbone -> click's result."""

    def run(*args, backbone=str(small_file)):
        options = ["--backbone", backbone, "--device", "cpu"] if backbone else []
        return CliRunner().invoke(main, ["score", *map(str, args), *options])

    return run


@pytest.fixture
def rows():
    """The rows of scores.csv in a run's folder."""

    def read(out) -> list[dict[str, str]]:
        with open(out / "scores.csv", newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return read


@pytest.fixture
def sets(category, tmp_path):
    """Two data sets: "one" with two categories, "two" with one."""
    for root, name in (("one", "bolt"), ("one", "nut"), ("two", "cap")):
        category(tmp_path / root / name, normal=2)
    return tmp_path


@pytest.fixture
def bench(small_file):
    """Runs `vlad bench` with the small backbone -> click's result."""

    def run(*args):
        options = ["--backbone", str(small_file), "--device", "cpu"]
        return CliRunner().invoke(main, ["bench", *map(str, args), *options])

    return run


@pytest.fixture
def results():
    """The rows of results.jsonl in a bench's folder."""

    def read(out) -> list[dict]:
        return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]

    return read


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "camera"
    folder.mkdir()
    return folder


@pytest.fixture
def watcher(images, source, tmp_path, small_file, run_env):
    """Starts `vlad watch` on `source`, or a video, as a process of its own -> the process."""
    started = []
    base = [sys.executable, "-m", "vlad"]
    options = ["--normal", str(images / "0.png"), "--backbone", str(small_file)]
    options += ["--device", "cpu", "--out", str(tmp_path / "run")]

    def start(*more, verb="watch", video=None):
        interval = ["--interval", "0.1"] if verb == "watch" and not video else []
        command = [*base, verb, str(video or source), *options, *interval, *map(str, more)]
        process = subprocess.Popen(
            command, env=run_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def clip(images, tmp_path):
    """A video of which frames 20 to 29 and 50 to 54 of 80 show another image than the rest."""
    from clips import pixels, write_clip

    shown = [1 if 20 <= n < 30 or 50 <= n < 55 else 0 for n in range(80)]
    frames = [pixels(images, number) for number in shown]
    path = tmp_path / "clip.mkv"
    return write_clip(
        path, frames, codec="ffv1", pixels="bgra", creation_time="2026-01-02T03:04:05Z"
    )


@pytest.fixture
def video(images, small_file, tmp_path):
    """Runs `vlad video` -> click's result."""

    def run(*clips, out=tmp_path / "run"):
        options = ["--normal", images / "0.png", "--backbone", small_file, "--device", "cpu"]
        return CliRunner().invoke(main, list(map(str, ["video", *clips, *options, "--out", out])))

    return run
