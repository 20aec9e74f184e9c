"""Start-up time of the command, and the share that is vlad's own.

    python benchmarks/start.py [--rounds 5]

It measures `vlad --help` and `vlad score` of one image by winclip on vlad-tiny, each in its own
process, with cached prompts. "Libraries" imports the third-party modules of the second. If the
system allows this process to drop its file cache, one more round is cold.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from timing import machine, ratio, table

# pyarrow imports pandas, where it is installed, once it makes an array
LIBRARIES = (
    "import click, numpy, PIL.Image, safetensors.torch, torch, pyarrow as pa, pyarrow.parquet\n"
    "pa.array([0.0])"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{machine(['click', 'pyarrow'])}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "nut.png")
        score = ["score", str(folder / "nut.png"), "--category", "nut", "--backbone", "vlad-tiny"]
        score += ["--out", str(folder / "run"), "--overwrite"]
        cases = {
            "vlad --help": ["-m", "vlad", "--help"],
            "libraries": ["-c", LIBRARIES],
            "vlad score": ["-m", "vlad", *score],
        }
        environment = {**os.environ, "VLAD_CACHE": str(folder / "cache")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled
        found = {case: [] for case in cases}
        for turn in range(options.rounds + 1):
            for case in reversed(cases) if turn % 2 else cases:
                spent = spend([sys.executable, *cases[case]], environment)
                if turn:  # the first round warms up
                    found[case].append(spent)
        lines = [
            (case, *(statistics.median(values) for values in zip(*rounds, strict=True)))
            for case, rounds in found.items()
        ]
        print(table(lines, ["warm, medians", "wall, s", "processor, s"]))
        own = [s[0] - b[0] for s, b in zip(found["vlad score"], found["libraries"], strict=True)]
        walls = [[wall for wall, _ in found[case]] for case in ("vlad score", "libraries")]
        print(f"\nOurs in `vlad score`: {statistics.median(own):.2f} s ({ratio(*walls):.2f} ×).")
        if drop_caches():
            wall = spend([sys.executable, *cases["vlad score"]], environment)[0]
            print(f"Cold: {wall:.1f} s wall.")
        else:
            print("The file cache cannot be dropped here: no cold figure.")


def drop_caches() -> bool:
    """Return whether the system let its file cache be dropped."""
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def spend(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of wall and of processor time of a command that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"It failed: {' '.join(command)}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
