"""Memory: the search with each option, in units of the plain search.

    python benchmarks/memory_options.py [--references 40] [--rounds 5]

Eight images are searched in the reference images. Features are random: time does not depend on
them, but whitened ones have as many channels as hold 99 % of the variance, here nearly all.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import torch
import torch.nn.functional as F
from timing import interleaved, machine, ratio, table

from vlad.heads.memory_layer import Layer, Space
from vlad.heads.self_reference import RANK, unlikeness
from vlad.maths.moments import Moments

IMAGES, GRID, WIDTH = 8, (15, 15), 896


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--references", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    patches = GRID[0] * GRID[1]
    rows = F.normalize(torch.randn(options.references * patches, WIDTH), dim=-1)
    queries = torch.randn(IMAGES, patches, WIDTH)
    tenth = max(1, options.references // 10)
    chosen = torch.stack([torch.randperm(options.references)[:tenth] for _ in queries])
    plain, whitened = Space("cosine"), Space("cosine", Moments.of(rows))
    cases = {
        "plain": (Layer(rows, plain, GRID), None),
        "position=1": (Layer(rows, plain, GRID, 1), None),
        "position=2": (Layer(rows, plain, GRID, 2), None),
        f"nearest_images={tenth}": (Layer(rows, plain, GRID), chosen),
        f"nearest_images={tenth}, position=1": (Layer(rows, plain, GRID, 1), chosen),
        "whiten=true": (Layer(rows, whitened, GRID), None),
    }
    runs = {
        name: partial(layer.nearest, queries, which, False)
        for name, (layer, which) in cases.items()
    }
    runs["what self_reference adds"] = partial(unlikeness, [queries], RANK, "memory")
    seconds = interleaved(runs, options.rounds)
    print(f"{machine()}\n")
    print(
        f"{IMAGES} images of {patches} patches with {WIDTH} channels in {options.references} "
        f"reference images, float32, {options.rounds} rounds\n"
    )
    lines = [
        (name, statistics.median(seconds[name]), ratio(seconds[name], seconds["plain"]))
        for name in runs
    ]
    print(table(lines, ["", "s", "of plain"]))


if __name__ == "__main__":
    main()
