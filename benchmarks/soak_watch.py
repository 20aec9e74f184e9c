"""Watch a folder that fills, with repeated kills, and a receiver that fails: is anything lost?

    python benchmarks/soak_watch.py [--images 20000] [--kills 8] [--minutes 25]

`vlad watch --webhook` with a fitted detector, which also compares drift, scores hard links of small
images that arrive in a folder, one in ten of them anomalous, while it is killed by `kill -9` at
random moments and started again. The receiver answers 503 to one post in twenty. At the end,
scores.csv must have every image in one row with a score, and every image that a verdict calls
anomalous must have been posted at least once, with the id that the queue on disk gave it, and no
other image. Exits with 1 otherwise. After `--minutes` no further image arrives, and what has
arrived is checked.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

HEADER = 1  # lines of scores.csv
BACKLOG = 1000  # images that wait to be scored, at most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--backbone", default="vlad-tiny")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        soak(Path(work), options)


def soak(work: Path, options: argparse.Namespace) -> None:
    chance = random.Random(options.seed)
    good, bad = draw(work)
    receiver = Receiver(chance)
    out = work / "run"
    command = [sys.executable, "-m", "vlad", "watch", str(work / "line"), "--out", str(out)]
    command += ["--detector", str(fitted(work, good, options)), "--maps", "none"]
    command += ["--interval", "0.5", "--device", "cpu", "--webhook", receiver.url]
    line = Line(work / "line", good, bad, chance)
    began = time.monotonic()
    # so that all kills come within the time, whatever the speed
    seconds = sorted(chance.uniform(0.05, 0.8) * 60 * options.minutes for _ in range(options.kills))
    watcher, kills, torn, first = Watcher(command, out), 0, 0, 0.0
    while True:
        time.sleep(0.5)
        if watcher.process.poll() is not None:
            raise SystemExit(f"vlad watch ended by itself with {watcher.process.returncode}")
        passed, rows = time.monotonic() - began, watcher.rows()
        done = len(line.paths) == options.images or passed > 60 * options.minutes
        if not done:
            line.fill(min(options.images, rows + BACKLOG))
        elif kills == len(seconds) and rows >= len(line.paths) and receiver.has(line.paths):
            break
        if kills < len(seconds) and (passed > seconds[kills] or done):
            watcher.process.kill()
            watcher.process.wait()
            kills += 1
            torn += watcher.torn
            watcher = Watcher(command, out)
            first = 0.0
        first = first or (watcher.memory() if rows > watcher.begin else 0.0)
    last = watcher.memory()
    watcher.process.terminate()
    watcher.process.wait()
    took = time.monotonic() - began
    posted = check(out, line.paths, receiver)
    drift = json.loads((out / "drift.json").read_text())
    print(
        f"{len(line.paths)} images in {took:.0f} s, kill -9 {kills} times, {torn} of which left "
        f"half a line\nevery image one row; {len(posted)} anomalous images posted, each at least "
        f"once with its id; {sum(posted.values()) - len(posted)} posts were repeats, "
        f"{receiver.refused} were answered 503\nmemory of the last process: {first:.0f} MiB at its "
        f"start, {last:.0f} MiB at its end\n"
        f"drift of the last {drift['images']} images, of which one in ten is anomalous: "
        f"{drift['sentence'] or 'none'}"
    )


def fitted(work: Path, good: list[Path], options: argparse.Namespace) -> Path:
    """A detector of one good image, with a threshold from the others."""
    command = [sys.executable, "-m", "vlad", "fit", *map(str, good), "--k-shot", "1"]
    command += ["--backbone", options.backbone, "--image-size", str(options.image_size)]
    command += ["--device", "cpu", "--out", str(work / "detector")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return work / "detector"


class Line:
    """A folder that images arrive in, a thousand to a subfolder, renamed into place."""

    def __init__(self, folder: Path, good: list[Path], bad: list[Path], chance: random.Random):
        self.folder, self.good, self.bad, self.chance = folder, good, bad, chance
        self.paths: dict[str, bool] = {}  # path -> whether it is anomalous
        folder.mkdir()

    def fill(self, count: int) -> None:
        """Add images until there are so many."""
        while len(self.paths) < count:
            number = len(self.paths)
            path = self.folder / f"{number // 1000:03}" / f"{number:06}.png"
            path.parent.mkdir(exist_ok=True)
            bad = self.chance.random() < 0.1
            part = path.with_suffix(".part")
            os.link(self.chance.choice(self.bad if bad else self.good), part)
            part.rename(path)
            self.paths[str(path)] = bad


class Watcher:
    """`vlad watch` as a process."""

    def __init__(self, command: list[str], out: Path):
        self.csv = out / "scores.csv"
        self.begin = self.rows()  # it loads until there are more
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def rows(self) -> int:
        return self.csv.read_bytes().count(b"\n") - HEADER if self.csv.exists() else 0

    @property
    def torn(self) -> bool:
        return self.csv.exists() and not self.csv.read_bytes().endswith(b"\n")

    def memory(self) -> float:
        """MiB resident."""
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        except OSError:
            return 0.0
        return next((int(x.split()[1]) / 1024 for x in lines if x.startswith("VmRSS")), 0.0)


class Receiver(ThreadingHTTPServer):
    """Gets posts on the loopback, and refuses one in twenty."""

    daemon_threads = True

    def __init__(self, chance: random.Random):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.chance = chance
        self.got: list[tuple[str, str]] = []  # (id, path) of each post that was accepted
        self.refused = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def has(self, images: dict[str, bool]) -> bool:
        """Whether each anomalous image was posted."""
        return {path for _, path in self.got} >= {path for path, bad in images.items() if bad}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        refused = self.server.chance.random() < 0.05
        if refused:
            self.server.refused += 1
        else:
            self.server.got.append((self.headers["X-Vlad-Delivery"], event["path"]))
        self.send_response(503 if refused else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def draw(work: Path) -> tuple[list[Path], list[Path]]:
    """Twenty good images of one texture, and five with a dark square in it."""
    random = np.random.default_rng(0)
    base = random.integers(60, 200, (12, 12, 3)).repeat(8, 0).repeat(8, 1)
    good, bad = [], []
    for number in range(25):
        pixels = np.clip(base + random.integers(-2, 3, base.shape), 0, 255).astype(np.uint8)
        path = work / f"{number}.png"
        if number >= 20:
            pixels[30:70, 30:70] = 0
        Image.fromarray(pixels).save(path)
        (bad if number >= 20 else good).append(path)
    return good, bad


def check(out: Path, images: dict[str, bool], receiver: Receiver) -> Counter[str]:
    """Check rows and posts -> how often each anomalous image was posted."""
    with open(out / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    times = Counter(row["path"] for row in rows)
    if times != Counter(images.keys()):
        twice = sum(count > 1 for count in times.values())
        missing = len(images.keys() - times.keys())
        raise SystemExit(
            f"of {len(images)} images, {missing} have no row, and {twice} have several"
        )
    told = {True: "anomalous", False: "normal"}
    if wrong := [row for row in rows if row["memory_verdict"] != told[images[row["path"]]]]:
        raise SystemExit(f"{len(wrong)} rows are wrong, as {wrong[0]}")
    with open(out / "events" / "webhook.jsonl") as file:
        queue = {event["path"]: event["id"] for event in map(json.loads, file)}
    posted = Counter(path for _, path in receiver.got)
    if posted.keys() != {path for path, bad in images.items() if bad}:
        raise SystemExit("other images were posted than those that are anomalous")
    if set(receiver.got) != {(name, path) for path, name in queue.items()}:
        raise SystemExit("an event was posted under another id")
    return posted


if __name__ == "__main__":
    main()
