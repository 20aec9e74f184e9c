"""A run that is killed loses no row, and ends like one that never was."""

import os
import signal
import subprocess
import sys

import pytest
from PIL import Image

from vlad.images import read_image
from vlad.report.overlays import shared_scales, write_overlays
from vlad.results.folder import RunFolder
from vlad.types import Sample

SCORER = """
import sys, time
import numpy as np
from pathlib import Path
from vlad.results.rows import Row
from vlad.results.folder import RunFolder
from vlad.types import Sample

out, images, count, wait = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
run = RunFolder(out, {"winclip": (0.0, 1.0)}, {"category": "nut"}).resume()
for i in range(count):
    path = str(images / f"{i}.png")
    if run.rows.scored(path):
        continue
    values = np.random.default_rng(i).random((16, 16))
    run.write_map("winclip", Sample(Path(path), str(i)), values, (24, 16))
    run.append([Row(path, {"winclip": float(values.max())})])
    print(i, flush=True)
    time.sleep(float(wait) * 2**i)  # so that it is killed before its end
"""


def start(out, images, count, wait=0.0):
    command = [sys.executable, "-c", SCORER, str(out), str(images), str(count), str(wait)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def finish(out, images, count):
    samples = [Sample(images / f"{i}.png", str(i)) for i in range(count)]
    run = RunFolder(out, {"winclip": (0.0, 1.0)}, {"category": "nut"}).resume()
    run.finish([sample.path for sample in samples])
    write_overlays(run, samples, shared_scales(run, samples), read_image)


def scored(run: RunFolder) -> set[str]:
    return {path for path in run.rows if run.rows.scored(path)}


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a Unix thing")
def test_a_killed_run_keeps_its_rows_and_ends_like_one_never_stopped(tmp_path):
    count, images = 12, tmp_path / "images"
    images.mkdir()
    for i in range(count):
        Image.new("RGB", (24, 16), (20 * i, 80, 120)).save(images / f"{i}.png")
    assert start(tmp_path / "straight", images, count).wait() == 0

    process = start(tmp_path / "killed", images, count, wait=0.01)
    printed = [int(process.stdout.readline()) for _ in range(5)]
    process.send_signal(signal.SIGKILL)
    printed += [int(line) for line in process.communicate()[0].splitlines()]
    assert process.returncode == -signal.SIGKILL and len(printed) < count
    kept = RunFolder(tmp_path / "killed", {"winclip": (0.0, 1.0)}, {"category": "nut"}).resume()
    assert {str(images / f"{i}.png") for i in printed} <= scored(kept)
    assert len(scored(kept)) < count

    # a write in full swing leaves half a row
    with open(kept.scores_csv, "ab") as file:
        file.write(str(images / "11.png").encode() + b",0.9")

    resumed = start(tmp_path / "killed", images, count)
    scored_again = {int(line) for line in resumed.communicate()[0].splitlines()}
    assert resumed.returncode == 0
    assert len(scored_again) == count - len(scored(kept)) and not scored_again & set(printed)

    for name in ("straight", "killed"):
        finish(tmp_path / name, images, count)
    straight, killed = contents(tmp_path / "straight"), contents(tmp_path / "killed")
    assert straight == killed
    assert (
        len(straight) == len(["files.csv", "run.json", "scores.csv", "scores.parquet"]) + 2 * count
    )


def contents(path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
