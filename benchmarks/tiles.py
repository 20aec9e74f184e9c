"""A defect of a few pixels in a large image: `vlad score` with and without tiles.

    python benchmarks/tiles.py [--size 4000x3000] [--defect 12] [--images 3] [--tile 448]

It draws brushed plates, some with a dark pit of `--defect` pixels; every run gets normal plates for
memory and threshold. It prints the verdict and score of each plate, the distance of the map's
maximum from the centre of the pit, and the time and peak memory of each run (Linux and macOS). A
patch of vlad-tiny is 28 pixels of a tile of 448.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from vlad.results.maps import read_map


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="4000x3000", help="WIDTHxHEIGHT of the plates")
    parser.add_argument("--defect", type=int, default=12, help="pixels across the pit")
    parser.add_argument("--images", type=int, default=3, help="plates with a pit, and as many ok")
    parser.add_argument("--normals", type=int, default=22, help="2 for memory, others held out")
    parser.add_argument("--tile", default="448")
    parser.add_argument("--overlap", default="0.25")
    parser.add_argument("--coreset", default="0.1", help="share of the patches remembered")
    parser.add_argument("--backbone", default="vlad-tiny")
    options = parser.parse_args()

    size = tuple(map(int, options.size.split("x")))
    cut = ["--tile", options.tile, "--overlap", options.overlap]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pits = draw(folder, size, options.defect, options.images, options.normals)
        command = [
            *(sys.executable, "-m", "vlad", "score", folder / "parts", "--normal", folder / "good"),
            *("--k-shot", "2", "--threshold", "auto", "--backbone", options.backbone),
            *("--head", "memory", "--param", f"memory.coreset={options.coreset}"),
        ]
        for title, more in {"whole images": [], f"tiles of {options.tile} pixels": cut}.items():
            out = folder / title
            seconds, mebibytes = spent([*map(str, command), *more, "--out", str(out)])
            print(f"{title}: {seconds:.0f} s, at most {mebibytes:.0f} MiB")
            with open(out / "scores.csv", newline="", encoding="utf-8") as file:
                rows = {Path(row["path"]).stem: row for row in csv.DictReader(file)}
            for plate, row in sorted(rows.items()):
                score, verdict = float(row["memory"]), row["memory_verdict"]
                line = f"  {plate}: {verdict}, score {score:.4f}"
                if plate in pits:
                    found = read_map(out / "maps" / "memory" / f"{plate}.png")
                    pixels = missed_by(found, pits[plate], size)
                    line += f"; the highest value is {pixels:.0f} pixels from the pit's middle"
                print(line, flush=True)


def draw(
    folder: Path, size: tuple[int, int], defect: int, images: int, normals: int
) -> dict[str, tuple[int, int]]:
    """Plates in `parts` and `good` -> the middle of the pit of each that has one."""
    pits = {}
    random = np.random.default_rng(0)
    names = [f"good/{i:03}" for i in range(normals)]
    names += [f"parts/{kind}{i}" for kind in ("pit", "ok") for i in range(images)]
    for seed, name in enumerate(names):
        pixels = plate(size, seed)
        if "pit" in name:
            x, y = (int(random.integers(2 * defect, side - 2 * defect)) for side in size)
            pits[Path(name).name] = (x, y)
            dig(pixels, (x, y), defect)
        file = folder / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(file, compress_level=1)
    return pits


def plate(size: tuple[int, int], seed: int) -> np.ndarray:
    """(H, W, 3) brushed metal: fine lines along the rows, grain, and slow changes of the light."""
    random = np.random.default_rng(seed)
    width, height = size
    lines = random.normal(0, 1, (height, width // 40 + 2)).astype(np.float32)
    brushed = np.asarray(Image.fromarray(lines).resize(size, Image.BICUBIC))
    light = random.normal(0, 1, (4, 5)).astype(np.float32)
    light = np.asarray(Image.fromarray(light).resize(size, Image.BICUBIC))
    grain = random.standard_normal((height, width), np.float32)
    grey = 135 + 9 * brushed + 5 * light + 4 * grain
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def dig(pixels: np.ndarray, middle: tuple[int, int], across: int) -> None:
    """A round dark pit with a soft edge, in place."""
    y, x = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
    radius = np.hypot(x - middle[0], y - middle[1])
    depth = np.clip(across / 2 + 0.5 - radius, 0, 1)[..., None]
    pixels[:] = pixels * (1 - 0.7 * depth)


def spent(command: list[str]) -> tuple[float, float]:
    """Seconds and peak MiB of a command that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}\n{said}")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return time.perf_counter() - start, usage.ru_maxrss / unit


def missed_by(found: np.ndarray, middle: tuple[int, int], size: tuple[int, int]) -> float:
    """Distance in pixels of the map's maximum from the centre of the pit."""
    row, column = np.unravel_index(found.argmax(), found.shape)
    x, y = (column + 0.5) * size[0] / found.shape[1], (row + 0.5) * size[1] / found.shape[0]
    return float(np.hypot(x - middle[0], y - middle[1]))


if __name__ == "__main__":
    main()
