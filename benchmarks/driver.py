"""What Ray's driver, workers and partitions cost without a backbone, and what survives faults.

    python benchmarks/driver.py [--images 200000] [--new 1000] [--kills 3] [--workers 2]

Scores hard links of a few tiny images, one in a thousand damaged, with a backbone that computes
nothing (null_backbone.py, registered as an entry point in a temporary folder). Meanwhile random
workers are killed by `kill -9`. A second command with --resume has new and changed images besides,
a third has nothing to do. Prints images per second, processor time of the driver, of workers and of
Ray's own processes, and the driver's memory. Exits with 1 unless every path has exactly one row and
only new and changed images were scored again.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.dataset as pd
from soak import check_finished, link_images

HERE = Path(__file__).parent
TICK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--new", type=int, default=1000, help="images added before --resume")
    parser.add_argument("--changed", type=int, default=100, help="images replaced before it")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        measure(Path(work), options)


def measure(work: Path, options: argparse.Namespace) -> None:
    chance = random.Random(options.seed)
    good, rotten = link_images(work, options.images, 0.001, chance, side=8)
    first = Command(work, options.workers)
    kills = sorted(chance.sample(range(1, options.images), options.kills))
    first.watch(kills)
    first.say(f"{options.images} images, {first.killed} workers killed", options.images)
    check_finished(rows(work / "run", "null"), good, rotten)
    parts = sorted((work / "run").rglob("part-*.parquet"))
    size = sum(part.stat().st_size for part in parts)
    print(f"    {len(parts)} partitions, {size / options.images:.1f} bytes a row")

    sources = sorted((work / "good").iterdir())
    added = [work / "images" / "new" / f"{i}.png" for i in range(options.new)]
    added[0].parent.mkdir()
    for path in added:
        os.link(chance.choice(sources), path)
    changed = chance.sample(sorted(good), options.changed)
    for path in changed:
        Path(path).unlink()
        Path(path).write_bytes(sources[0].read_bytes())
    again = Command(work, options.workers)
    again.watch()
    again.say(f"{options.new} new and {options.changed} changed", options.new + options.changed)
    check_finished(rows(work / "run", "null"), good | {str(path) for path in added}, rotten)
    idle = Command(work, options.workers)
    idle.watch()
    idle.say("nothing new", 0)


def rows(out: Path, head: str) -> list[dict]:
    """All rows of a run, as `check_finished` reads them."""
    table = pd.dataset(sorted(map(str, out.rglob("part-*.parquet")))).to_table()
    table = table.append_column("memory", table[head])
    return table.select(["path", "memory", "error"]).to_pylist()


class Command:
    """`vlad score --engine ray` as a process with the null backbone, and measurements of it."""

    def __init__(self, work: Path, workers: int):
        site = work / "site" / "vlad_null-0.dist-info"
        site.mkdir(parents=True, exist_ok=True)
        (site / "METADATA").write_text("Metadata-Version: 2.1\nName: vlad-null\nVersion: 0\n")
        (site / "entry_points.txt").write_text("[vlad.backbones]\nnull = null_backbone:load\n")
        places = [str(site.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "vlad", "score", str(work / "images"), "--engine", "ray"]
        command += ["--backbone", "null", "--head", f"{HERE / 'null_backbone.py'}:Null"]
        command += ["--device", "cpu", "--workers", str(workers), "--batch-size", "64"]
        command += ["--out", str(work / "run"), "--resume"]
        self.out, self.log = work / "run", work / "log"
        self.began = time.monotonic()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        self.cpu: dict[int, tuple[str, float]] = {}  # process -> kind, seconds of processor time
        self.memory: list[float] = []  # MiB resident in the driver, while it scores
        self.peak, self.killed = 0.0, 0
        self.partitions: list[float] = []  # when each was seen

    def watch(self, kills: list[int] = ()) -> None:
        """Measure until the end; kill a random worker after so many rows each time."""
        kills, before = list(kills), self._parts()
        while self.process.poll() is None:
            time.sleep(0.5)
            self._measure()
            found = self._parts()
            if found > before and self.process.poll() is None:
                self.memory.append(_status(self.process.pid, "VmRSS"))
            if kills and self._rows() >= kills[0]:
                kills.pop(0)
                self._kill_one()
        self.seconds = time.monotonic() - self.began
        if self.process.returncode:
            raise SystemExit(
                f"vlad score ended with {self.process.returncode}\n{self.log.read_text()}"
            )

    def say(self, what: str, expected: int) -> None:
        text = self.log.read_text()
        done = re.search(r"(\d+) images? scored(?:, (\d+) failed)?", text)
        scored = sum(int(n or 0) for n in done.groups()) if done else 0
        spent = {"driver": 0.0, "workers": 0.0, "Ray": 0.0}
        for kind, seconds in self.cpu.values():
            spent[kind] += seconds
        rate = re.findall(r"([\d.]+) images/s", text)
        print(f"{what}: {scored} scored, {self.seconds:.0f} s, {(rate or ['no'])[-1]} images/s")
        print("    processor time, s: " + ", ".join(f"{k} {v:.1f}" for k, v in spent.items()))
        if len(self.memory) > 3:
            quarter = len(self.memory) // 4 or 1
            low, high = (
                statistics.median(x) for x in (self.memory[:quarter], self.memory[-quarter:])
            )
            print(f"    driver, MiB: first quarter {low:.0f}, last {high:.0f}")
        print(f"    peak of the driver, MiB: {self.peak:.0f}", flush=True)
        if scored != expected:
            raise SystemExit(f"{expected} images should have been scored\n{text}")

    def _parts(self) -> int:
        return sum(1 for _ in self.out.rglob("part-*.parquet"))

    def _rows(self) -> int:
        return sum(pd.dataset(str(part)).count_rows() for part in self.out.rglob("part-*.parquet"))

    def _measure(self) -> None:
        for pid, kind in _family(self.process.pid):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            if pid in self.cpu:  # a worker that is done has another name
                kind = "workers" if self.cpu[pid][0] == "workers" else kind
            self.cpu[pid] = (kind, (int(fields[11]) + int(fields[12])) / TICK)
        self.peak = max(self.peak, _status(self.process.pid, "VmHWM"))

    def _kill_one(self) -> None:
        workers = [pid for pid, kind in _family(self.process.pid) if kind == "workers"]
        if workers:
            os.kill(random.choice(workers), signal.SIGKILL)
            self.killed += 1


def _family(root: int) -> list[tuple[int, str]]:
    """A process and all those below it, each with what it does."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, waiting = [(root, "driver")], list(children.get(root, []))
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        try:
            name = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        found.append((pid, "workers" if b"Scorer" in name else "Ray"))
    return found


def _status(pid: int, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(x.split()[1]) / 1024 for x in lines if x.startswith(name)), 0.0)


if __name__ == "__main__":
    main()
