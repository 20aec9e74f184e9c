"""What the request log of `vlad serve` costs: throughput and processor time, with and without.

    python benchmarks/serve_log.py [--rounds 9] [--requests 100] [--clients 4]

Two services with head memory on one hazelnut of the demo per request, sent by threads of this
process: one with --request-log into a file, one with its usual lines on stderr, which go nowhere.
Rounds alternate between them; it prints the median over rounds of the ratios with/without, the
processor time being that of the service alone. The last figure is the processor time of one line
by itself.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
from timing import interleaved, machine, ratio

from vlad.demo import HAZELNUT
from vlad.serving.log import RequestLog

LINE = {
    "time": "2026-01-01T00:00:00.000000Z",
    "id": "0" * 32,
    "method": "POST",
    "path": "/v1/score",
    "status": 200,
    "milliseconds": 21.5,
    "detector": "hazelnut",
    "images": 1,
    "scores": [0.123456789],
    "verdicts": ["normal"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=100, help="in each round")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--backbone", default="vlad-tiny")
    options = parser.parse_args()
    image = (HAZELNUT / "test" / "colour" / "00.jpg").read_bytes()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fit = ["fit", HAZELNUT / "train", "--k-shot", 4, "--out", folder / "hazelnut"]
        subprocess.run(vlad(*fit, "--backbone", options.backbone), check=True)
        serve = vlad("serve", folder / "hazelnut", "--port", 0)
        commands = {
            "without": serve,
            "with": [*serve, "--request-log", str(folder / "requests.jsonl")],
        }
        services = {key: start(command) for key, command in commands.items()}
        try:
            spent: dict[str, list[float]] = {key: [] for key in services}
            cases = {
                key: sender(process, image, options, spent[key])
                for key, process in services.items()
            }
            seconds = interleaved(cases, options.rounds)
        finally:
            for process in services.values():
                process.terminate()
                process.wait()
        log = RequestLog(str(folder / "lines.jsonl"))
        begun = time.process_time()
        for _ in range(10_000):
            log.write(LINE)
        line = (time.process_time() - begun) / 10_000
    print(machine(["fastapi", "uvicorn"]))
    print(f"time: {ratio(seconds['with'], seconds['without']):.3f}")
    print(f"processor time: {ratio(spent['with'][1:], spent['without'][1:]):.3f}")
    print(f"requests/s without: {options.requests / min(seconds['without']):.1f} at best")
    print(f"one line: {line * 1e6:.0f} µs")


def vlad(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "vlad", *map(str, arguments)]


def start(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def sender(
    process: subprocess.Popen, image: bytes, options: argparse.Namespace, spent: list[float]
) -> Callable[[], object]:
    """A function that sends one round, and notes the processor time of the service."""
    address = re.search(r"http://\S+", process.stdout.readline())[0]
    client = httpx.Client(timeout=600, headers={"Content-Type": "image/jpeg"})
    service = psutil.Process(process.pid)

    def ask(_: int) -> None:
        client.post(f"{address}/v1/score", content=image).raise_for_status()

    def send() -> None:
        before = service.cpu_times()
        with ThreadPoolExecutor(options.clients) as pool:
            list(pool.map(ask, range(options.requests)))
        after = service.cpu_times()
        spent.append(after.user + after.system - before.user - before.system)

    return send


if __name__ == "__main__":
    main()
