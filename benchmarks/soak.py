"""Score many images, one in a hundred damaged, with repeated kills: is anything lost?

    python benchmarks/soak.py [--images 100000] [--kills 20] [--backbone vlad-tiny] [--engine ray]

`vlad score --maps none` runs over hard links of a few images. In the first half it is killed by
`kill -9` at random moments and continues with --resume; the second half is one process, whose
memory is recorded. After every kill and at the end, scores.csv must have no good image twice; at
the end, every good image once with its score, and every damaged file once with its error. Exits
with 1 otherwise. With --engine ray the same is required of the Parquet files, and the started
process is killed, not those that Ray started from it.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from pyarrow.dataset import dataset
from pyarrow.parquet import read_metadata

HEADER = 1  # lines of scores.csv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--rotten", type=float, default=0.01, help="share of rotten files")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--backbone", default="vlad-tiny")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as work:
        soak(Path(work), options)


def soak(work: Path, options: argparse.Namespace) -> None:
    chance = random.Random(options.seed)
    good, rotten = link_images(work, options.images, options.rotten, chance)
    out = work / "run"
    command = [sys.executable, "-m", "vlad", "score", str(work / "images")]
    command += ["--normal", str(work / "good" / "0.png"), "--head", "memory"]
    command += ["--engine", "ray"] if options.engine == "ray" else ["--maps", "none"]
    command += ["--backbone", options.backbone, "--image-size", str(options.image_size)]
    command += ["--device", "cpu", "--out", str(out), "--resume"]

    moments = sorted(chance.sample(range(1, options.images // 2), options.kills))
    scorer = RayScorer if options.engine == "ray" else Scorer
    torn, began = 0, time.monotonic()
    for moment in moments:
        killed = scorer(command, out)
        killed.watch(until=moment)
        time.sleep(chance.random() * scorer.pause)
        killed.process.kill()
        killed.process.wait()
        torn += killed.torn
        check_once(killed.paths(), good)
    last = scorer(command, out)
    last.watch()
    if last.process.wait():
        raise SystemExit(f"vlad score ended with {last.process.returncode}")
    seconds = time.monotonic() - began
    check_finished(last.finished(), good, rotten)

    quarter = len(last.memory) // 4
    first, fourth = (
        statistics.median(rss for _, rss in part)
        for part in (last.memory[:quarter], last.memory[-quarter:])
    )
    low, high = last.memory[0][0], last.memory[-1][0]
    print(
        f"{options.images} images, {len(rotten)} of them rotten files; kill -9 at "
        f"{options.kills} moments, {torn} of which left half a line\n"
        f"every good image once, every rotten file a row with its error, {seconds:.0f} s\n"
        f"memory of the last process, from image {low} to {high}: median of the first quarter "
        f"{first:.0f} MiB, of the last {fourth:.0f} MiB, peak {last.peak:.0f} MiB"
    )


class Scorer:
    """`vlad score` as a process, and measurements of it."""

    pause = 0.2  # seconds at most before the kill

    def __init__(self, command: list[str], out: Path):
        self.csv = out / "scores.csv"
        self.rows = 0
        self.memory: list[tuple[int, float]] = []  # rows written, MiB resident
        self.peak = 0.0
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def watch(self, until: int | None = None) -> None:
        """Wait for so many rows, or for the end."""
        before = self._count()
        while self.process.poll() is None and (until is None or self.rows < until):
            time.sleep(0.1)
            if self._count() > before:  # it is scoring, no longer loading
                if self.memory and self.memory[-1][0] == self.rows:
                    continue
                self.memory.append((self.rows, self._mebibytes("VmRSS")))
                self.peak = max(self.peak, self._mebibytes("VmHWM"))
        if until is not None and self.process.poll() is not None:
            raise SystemExit(f"vlad score ended by itself with {self.process.returncode}")

    @property
    def torn(self) -> bool:
        return not self.csv.read_bytes().endswith(b"\n")

    def paths(self) -> list[str]:
        """The paths of whole lines."""
        text = self.csv.read_text()
        return [line.split(",")[0] for line in text[: text.rfind("\n")].splitlines()[HEADER:]]

    def finished(self) -> list[dict]:
        with open(self.csv, newline="") as file:
            return list(csv.DictReader(file))

    def _count(self) -> int:
        if self.csv.exists():
            self.rows = self.csv.read_bytes().count(b"\n") - HEADER
        return self.rows

    def _mebibytes(self, name: str) -> float:
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        except OSError:  # it has just ended
            return 0.0
        return next((int(x.split()[1]) / 1024 for x in lines if x.startswith(name)), 0.0)


class RayScorer(Scorer):
    """The same with the partitions of Ray's workers."""

    pause = 3.0
    torn = False  # a partition is written whole or not at all

    def paths(self) -> list[str]:
        return [row["path"] for row in self.finished()]

    def finished(self) -> list[dict]:
        parts = list(map(str, self.csv.parent.rglob("part-*.parquet")))
        return dataset(parts).to_table().to_pylist() if parts else []

    def _count(self) -> int:
        parts = self.csv.parent.rglob("part-*.parquet")
        self.rows = sum(read_metadata(part).num_rows for part in parts)
        return self.rows


def link_images(
    work: Path, count: int, share: float, chance: random.Random, side: int = 96
) -> tuple[set[str], set[str]]:
    """Paths of good images and of rotten files, a thousand to a folder."""
    sources = {True: work / "good", False: work / "rotten"}
    for folder in sources.values():
        folder.mkdir()
    for seed in range(50):
        pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(sources[True] / f"{seed}.png")
    whole = (sources[True] / "0.png").read_bytes()
    for name, content in {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "page": b"<html><script>alert(1)</script></html>",
        "zeros": bytes(len(whole)),
        "head": whole[:40],
    }.items():
        (sources[False] / f"{name}.png").write_bytes(content)
    files = {kind: sorted(folder.iterdir()) for kind, folder in sources.items()}
    rotten = set(chance.sample(range(count), round(share * count)))
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for number in range(count):
        path = work / "images" / f"{number // 1000:04}" / f"{number:07}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = number not in rotten
        os.link(chance.choice(files[kind]), path)
        found[kind].add(str(path))
    return found[True], found[False]


def check_once(paths: list[str], good: set[str]) -> None:
    """Check that no good image is there twice."""
    if twice := [path for path, n in Counter(paths).items() if n > 1 and path in good]:
        raise SystemExit(f"{len(twice)} good images were scored twice, as {twice[0]}")


def check_finished(rows: list[dict], good: set[str], rotten: set[str]) -> None:
    times = Counter(row["path"] for row in rows)
    if times != Counter({*good, *rotten}):
        raise SystemExit("the run does not hold every image exactly once")
    for row in rows:
        if (row["path"] in good) != (row["memory"] not in ("", None) and not row["error"]):
            raise SystemExit(f"a wrong row: {row}")


if __name__ == "__main__":
    main()
