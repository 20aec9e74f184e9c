"""Images per second of the local engine and of Ray with one and two workers.

    python benchmarks/scale.py [--backbone vlad-tiny] [--images 1000]

Each is a separate command over the same images, scores only, one thread per process. The rate of
the local engine is the one it prints; that of Ray counts from when each worker has written its
first partition, so starting Ray and its workers is only in the seconds of the whole command.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vlad-tiny")
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        images = Path(work) / "images"
        images.mkdir()
        for i in range(50):
            pixels = np.random.default_rng(i).integers(0, 256, (300, 300, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / f"{i:06}.png")
        for i in range(50, options.images):
            os.link(images / f"{i % 50:06}.png", images / f"{i:06}.png")
        command = [sys.executable, "-m", "vlad", "score", str(images), "--head", "memory"]
        command += ["--normal", str(images / "000000.png"), "--backbone", options.backbone]
        command += ["--device", "cpu", "--maps", "none"]
        engines = {
            "local": 0,
            "Ray, 1 worker": 1,
            "Ray, 2 workers": 2,
        }
        print("| engine | images/s | whole command, s |\n|---|---|---|")
        for name, workers in engines.items():
            out = Path(work) / f"run{workers}"
            more = ["--engine", "ray", "--workers", str(workers)] if workers else []
            rate, seconds = timed([*command, *more, "--out", str(out)])
            rate = steady_rate(out, workers) if workers else rate
            print(f"| {name} | {rate:.1f} | {seconds:.0f} |", flush=True)
        parts = list(out.rglob("part-*.parquet"))
        rows = sum(pq.read_metadata(part).num_rows for part in parts)
        size = sum(part.stat().st_size for part in parts)
        print(f"\n{rows} rows in {len(parts)} partitions, {size / rows:.0f} bytes a row")


def steady_rate(out: Path, workers: int) -> float:
    parts = sorted(out.rglob("part-*.parquet"), key=lambda part: part.stat().st_mtime)
    first, last = (parts[i].stat().st_mtime for i in (workers - 1, -1))
    return sum(pq.read_metadata(part).num_rows for part in parts[workers:]) / (last - first)


def timed(command: list[str]) -> tuple[float, float]:
    began = time.monotonic()
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    found = re.findall(r"scored (\d+)/\1 images, ([\d.]+) images/s", done.stderr)
    return float(found[-1][1]), time.monotonic() - began


if __name__ == "__main__":
    main()
