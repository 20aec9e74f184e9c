"""Watch an endless stream with cuts and kills: does memory grow, is an event lost or doubled?

    python benchmarks/soak_live.py [--rate 50] [--frames 360000] [--kills 3] [--minutes 10]

A camera on the loopback sends JPEG images over HTTP, --rate a second: 360 000 of them are 10 hours
at 10 a second. One in twenty stretches of 100 images is anomalous; the connection is cut every 6000
images, and `vlad watch --webhook` is killed by `kill -9` at random moments. At the end, the events
of events.csv must be those that scores.csv gives afterwards, and each must have been posted, its
begin and its end under one id each. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image
from soak_watch import Watcher, draw, fitted

from vlad.time import find_events

GAP = 0.5  # seconds
CUT = 6000  # images of a connection
BEGIN, END = 0.2, 0.15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=360_000)
    parser.add_argument("--rate", type=float, default=50, help="images a second")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--backbone", default="vlad-tiny")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        soak(Path(work), options)


def soak(work: Path, options: argparse.Namespace) -> None:
    chance = random.Random(options.seed)
    good, bad = draw(work)
    camera, receiver = Camera(good, bad, options.rate), Receiver()
    out = work / "run"
    command = [sys.executable, "-m", "vlad", "watch", camera.url, "--out", str(out)]
    command += ["--detector", str(fitted(work, good, options)), "--maps", "none", "--keep", "none"]
    command += ["--begin-above", str(BEGIN), "--end-below", str(END), "--smooth", "ewma=0.05"]
    command += ["--gap", str(GAP), "--device", "cpu", "--webhook", receiver.url]
    began = time.monotonic()
    kills = sorted(chance.uniform(0.1, 0.6) * 60 * options.minutes for _ in range(options.kills))
    watcher, killed, memory = Watcher(command, out), 0, []
    while camera.sent < options.frames and (passed := time.monotonic() - began) < (
        60 * options.minutes
    ):
        time.sleep(1)
        if watcher.process.poll() is not None:
            raise SystemExit(f"vlad watch ended by itself with {watcher.process.returncode}")
        if watcher.rows() > watcher.begin + 20:
            memory.append((watcher.rows(), watcher.memory()))
        if killed < len(kills) and passed > kills[killed] and len(memory) > 1:
            watcher.process.kill()
            watcher.process.wait()
            killed, memory = killed + 1, []
            watcher = Watcher(command, out)
    watcher.process.terminate()
    watcher.process.wait()
    took = time.monotonic() - began
    found = check(out, receiver)
    if not memory:
        raise SystemExit("the last process scored too little; give more --minutes")
    first, last = memory[0], memory[-1]
    why = Counter(one["ended"] or "goes on" for one in found)
    print(
        f"{camera.sent} images sent in {took:.0f} s over {camera.connections} connections, "
        f"{watcher.rows()} scored, kill -9 {killed} times\n"
        f"{len(found)} events ({', '.join(f'{n} {name}' for name, n in why.items())}), each posted "
        f"once at its begin and end, {receiver.posts - len(receiver.got)} posts were repeats\n"
        f"memory of the last process: {first[1]:.0f} MiB at row {first[0]}, {last[1]:.0f} MiB at "
        f"row {last[0]}"
    )


def check(out: Path, receiver: Receiver) -> list[dict[str, str]]:
    """Check events against scores and posts -> the events."""
    with open(out / "events.csv", newline="") as file:
        found = list(csv.DictReader(file))
    with open(out / "scores.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["error"]]
    times = [datetime.fromisoformat(row["time"].replace("Z", "+00:00")) for row in rows]
    seconds = np.array([(at - times[0]).total_seconds() for at in times])
    smoothed = np.array([float(row["memory_smoothed"]) for row in rows])
    expected = find_events(seconds, smoothed, BEGIN, END, GAP)
    ours = [(one["start_time"], one["end_time"], int(one["frames"])) for one in found]
    theirs = [(rows[e.first]["time"], rows[e.last]["time"], e.frames) for e in expected]
    if ours != theirs:
        raise SystemExit(f"{len(ours)} events are not the {len(theirs)} that the scores give")
    posted = defaultdict(list)
    for one in receiver.got.values():
        posted[one["event"]].append((one["number"], one["start"], one["end"]))
    begun = [(int(one["event"]), one["start_time"], None) for one in found]
    ended = [(int(e["event"]), e["start_time"], e["end_time"]) for e in found if e["ended"]]
    if sorted(posted["begin"]) != begun or sorted(posted["end"]) != ended:
        raise SystemExit("other events were posted than those of events.csv")
    return found


class Camera(ThreadingHTTPServer):
    """Sends images to whoever connects, at a steady rate."""

    daemon_threads = True

    def __init__(self, good: list[Path], bad: list[Path], rate: float):
        super().__init__(("127.0.0.1", 0), _Camera)
        self.good, self.bad, self.pause = _jpegs(good), _jpegs(bad), 1 / rate
        self.sent = self.connections = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/line"


class _Camera(BaseHTTPRequestHandler):
    def do_GET(self):
        camera = self.server
        camera.connections += 1
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=image")
        self.end_headers()
        for _ in range(CUT):
            images = camera.good if camera.sent // 100 % 20 else camera.bad
            body = images[camera.sent % len(images)]
            head = f"--image\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + body + b"\r\n")
            except OSError:  # the other side has gone
                return
            camera.sent += 1
            time.sleep(camera.pause)

    def log_message(self, *_):
        pass


class Receiver(ThreadingHTTPServer):
    """Gets posts on the loopback."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.got: dict[str, dict] = {}  # id -> event
        self.posts = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got[event["id"]] = event
        self.server.posts += 1
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def _jpegs(paths: list[Path]) -> list[bytes]:
    found = []
    for path in paths:
        file = path.with_suffix(".jpg")
        Image.open(path).save(file, quality=90)
        found.append(file.read_bytes())
    return found


if __name__ == "__main__":
    main()
