"""MuSc's mutual comparison, beside its authors' loop, one over pairs, and the bare product.

    python benchmarks/musc.py [--images 1000] [--r 1] [--dtype bfloat16]

The authors' program calls `torch.cdist` of each image with all others at once; a slower variant
beside it calls it for each pair. Both take the smallest distance of each patch. "Of the product" is
the rate relative to one large `torch.mm` of the same type and number of channels. Then the head
itself compares `--images` random images from one block of the backbone (by default it uses four).
Patches are random: time does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from timing import interleaved, machine, ratio, table

from vlad.heads.musc import MuSc
from vlad.maths.mutual import mutual_similarity
from vlad.maths.precision import as_bfloat16
from vlad.system.machine import peak_memory
from vlad.types import Features

SIDE, WIDTH, LARGE = 15, 896, 3600
PATCHES = SIDE * SIDE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=32, help="images beside the loops")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1000, help="0 leaves the long run out")
    parser.add_argument("--r", type=int, default=1, help="side of the neighbourhoods")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()

    print(f"{machine()}\n")
    compare(options.few, options.rounds)
    if options.images:
        many(options.images, options.r, options.dtype == "bfloat16")


def compare(count: int, rounds: int) -> None:
    """Pair distances of a few images each way."""
    torch.manual_seed(0)
    rows = F.normalize(torch.randn(count, PATCHES, WIDTH), dim=-1)
    half, found = as_bfloat16(rows), torch.empty(count, count, PATCHES)
    large = torch.randn(2, LARGE, WIDTH)
    products = {
        dtype: (large[0].to(dtype), large[1].to(dtype).T, torch.empty(LARGE, LARGE, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    seconds = interleaved(
        {
            "authors' loop": lambda: plain(rows),
            "loop over pairs": lambda: pairs(rows),
            "float32": lambda: mutual_similarity(rows, found),
            "bfloat16": lambda: mutual_similarity(half, found),
            "float32 product": lambda: product(*products[torch.float32]),
            "bfloat16 product": lambda: product(*products[torch.bfloat16]),
        },
        rounds,
    )
    work = count * (count - 1) * PATCHES**2 * WIDTH
    of_product = 2 * LARGE**2 * WIDTH / work
    lines = []
    for name in ("authors' loop", "loop over pairs", "float32", "bfloat16"):
        bare = seconds.get(f"{name} product")
        share = ratio(bare, seconds[name]) / of_product if bare else ""
        faster = ratio(seconds["authors' loop"], seconds[name])
        lines.append((name, statistics.median(seconds[name]), faster, share))
    print(f"{count} images of {PATCHES} patches with {WIDTH} channels, {rounds} rounds\n")
    print(table(lines, ["", "s", "× the authors' loop", "of the product"]), flush=True)
    exact, distance = plain(rows), (2 - 2 * mutual_similarity(half)).clamp_min(0).sqrt()
    other = ~torch.eye(count, dtype=torch.bool)
    moved = (distance[other] - exact[other]).abs().max().item()
    print(f"\nDistances in bfloat16 move by at most {moved:.1g}.\n")


def product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    torch.mm(a, b, out=out)


def plain(rows: torch.Tensor) -> torch.Tensor:
    """(N, N, P): distance of each patch of image i to its nearest in image j."""
    found = torch.zeros(len(rows), len(rows), rows.shape[1])
    for i, a in enumerate(rows):
        others = [j for j in range(len(rows)) if j != i]
        distances = torch.cdist(a, rows[others].flatten(0, 1))
        found[i, others] = distances.view(len(a), len(others), -1).amin(dim=-1).T
    return found


def pairs(rows: torch.Tensor) -> torch.Tensor:
    """The same, pair by pair."""
    found = torch.zeros(len(rows), len(rows), rows.shape[1])
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            if i != j:
                found[i, j] = torch.cdist(a, b).amin(dim=1)
    return found


def many(count: int, r: int, bfloat16: bool) -> None:
    """The head on many images: seconds, and peak memory of the process."""
    before = peak_memory()
    pool = MuSc(r=(r,)).pool()
    torch.manual_seed(0)
    for at in range(0, count, 8):
        size = min(8, count - at)
        patches = {12: torch.randn(size, PATCHES, WIDTH)}
        image = torch.randn(size, 640)
        pool.add(Features(image, patches, (SIDE, SIDE), (240, 240), bfloat16=bfloat16))
    start = time.perf_counter()
    for _ in pool.scores():
        pass
    spent, name = time.perf_counter() - start, "bfloat16" if bfloat16 else "float32"
    print(
        f"{count} images, one block, neighbourhoods of {r}×{r}, {name}: {spent:.0f} s "
        f"({1000 * spent / count:.0f} ms an image). The defaults are 12 times that: four blocks, "
        f"three sides. The process held at most {peak_memory():.0f} MiB ({before:.0f} before)."
    )


if __name__ == "__main__":
    main()
