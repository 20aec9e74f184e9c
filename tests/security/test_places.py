"""Paths that lead to what is no image: pipes, devices, sockets, broken tables of paths."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from vlad.calibration import load_calibration
from vlad.cli import main
from vlad.datasets.manifest import read_manifest
from vlad.datasets.visa import VisA
from vlad.detector import Detector
from vlad.errors import ImageError, InputError, VladError
from vlad.prompts import load_bank
from vlad.runs.ray.paths import list_images
from vlad.runs.ray.stored import StoredReader
from vlad.training.recipe import load_recipe


def test_what_is_no_regular_file_is_a_row_and_nothing_waits(tmp_path, images, small_file):
    os.mkfifo(images / "pipe.png")
    (images / "device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as opened:
        here = os.getcwd()
        try:
            os.chdir(images)  # the whole path may be longer than the name of a socket
            opened.bind("socket.png")
        finally:
            os.chdir(here)
        options = ["--backbone", small_file, "--device", "cpu", "--out", tmp_path / "run"]
        options += ["--normal", images / "0.png"]
        done = subprocess.run(
            [sys.executable, "-m", "vlad", "score", images, *options],
            timeout=120,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "run" / "scores.csv", newline="") as file:
        errors = {Path(row["path"]).name: row["error"] for row in csv.DictReader(file)}
    assert len(errors) == 9
    for name in ("pipe.png", "device.png", "socket.png"):
        assert "it is not a regular file" in errors.pop(name)
    assert not any(errors.values())


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b"PAR1" + b"\xff" * 500 + b"PAR1"),
        lambda path: path.write_bytes(path.with_name("good.parquet").read_bytes()[:-9]),
        lambda path: path.write_bytes(b""),
        lambda path: path.mkdir(),
        lambda path: os.mkfifo(path),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: pq.write_table(pa.table({"path": [[1]]}), path),
        lambda path: pq.write_table(pa.table({"path": [{"path": "a.png"}]}), path),
        lambda path: pq.write_table(pa.table({"path": [b"\xff.png"]}), path),
        lambda path: pq.write_table(pa.table([["a.png"], ["b.png"]], ["path", "path"]), path),
        lambda path: pq.write_table(pa.table({"path": ["a.png"], "category": [[1]]}), path),
    ],
)  # fmt: skip
def test_a_table_of_paths_that_cannot_be_used_is_one_sentence(tmp_path, make):
    pq.write_table(pa.table({"path": ["a.png"]}), tmp_path / "good.parquet")
    make(tmp_path / "list.parquet")
    with pytest.raises(InputError, match=r"list\.parquet") as caught:
        list_images([str(tmp_path / "list.parquet")])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "path", ["x" * 10**6 + ".png", "a\0.png", "\x1b[2J.png", "", "file:///dev/zero"]
)
def test_a_path_in_a_table_that_cannot_be_read_is_one_sentence(tmp_path, path):
    pq.write_table(pa.table({"path": [path]}), tmp_path / "list.parquet")
    (found,) = list_images([str(tmp_path / "list.parquet")])["path"].to_pylist()
    with pytest.raises(ImageError):
        StoredReader(1000, 16, {})(found)


def test_categories_cannot_command_the_terminal(tmp_path, small_file):
    for folder in ("train/good", "test/good", "test/bad"):
        (tmp_path / "a\x1b[2J" / folder).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tmp_path / "a\x1b[2J" / folder / "0.png")
    options = ["--head", "memory", "--k-shot", "1", "--device", "cpu", "--backbone", small_file]
    done = CliRunner().invoke(main, ["eval", str(tmp_path), *map(str, options)])
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output and done.output.count(r"a\x1b[2J") == 2


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.csv", read_manifest),
        ("split_csv/1cls.csv", lambda path: VisA(path.parent.parent)),
        ("detector.json", lambda path: Detector.load(path.parent)),
        ("a.json", load_calibration),
        ("a.toml", load_bank),
        ("b.toml", load_recipe),
    ],
)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_not_read_as_words(tmp_path, name, read, make):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    make(tmp_path / name)
    with pytest.raises(VladError, match="not a regular file"):
        read(tmp_path / name)
