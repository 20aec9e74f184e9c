"""Memory: nearest neighbours beside the bare product, and the time of a greedy coreset.

    python benchmarks/memory.py [--bank 45000] [--coreset-steps 1000]

"Of the product" is the rate relative to one large `torch.mm` of the same type and number of
channels. Each step of a coreset costs the same, so a few steps give the time of all. Rows are
random: time does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial

import torch
import torch.nn.functional as F
from timing import interleaved, machine, ratio, table

from vlad.maths.neighbours import Bank, greedy_coreset

PATCHES, WIDTH, LARGE = 225, 896, 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bank", type=int, default=45000, help="patches remembered")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000, help="that a coreset is taken of")
    parser.add_argument("--coreset-steps", type=int, default=1000, help="0 leaves it out")
    options = parser.parse_args()

    print(f"{machine()}\n")
    print(f"{options.bank} patches with {WIDTH} channels remembered, {options.rounds} rounds\n")
    torch.manual_seed(0)
    bank = F.normalize(torch.randn(options.bank, WIDTH), dim=-1)
    lines = []
    for images in (1, 8):
        lines += searched(torch.randn(images * PATCHES, WIDTH), bank, options.rounds)
    header = ["patches searched", "s", "× float32 cosine", "of the product"]
    print(table(lines, header), flush=True)
    if options.coreset_steps:
        coreset(options.rows, options.coreset_steps)


def searched(queries: torch.Tensor, bank: torch.Tensor, rounds: int) -> list[tuple]:
    """One line per metric and type."""
    large = torch.randn(2, LARGE, WIDTH)
    cases = {
        "cosine, float32": ("cosine", False, torch.float32),
        "cosine, bfloat16": ("cosine", True, torch.bfloat16),
        "squared L2, float32": ("squared_l2", False, torch.float32),
    }
    runs = {}
    for name, (metric, half, dtype) in cases.items():
        ready = Bank(bank, metric, half)
        runs[name] = partial(ready.nearest, queries)
        a, b, out = large[0].to(dtype), large[1].to(dtype).T, torch.empty(LARGE, LARGE, dtype=dtype)
        runs[f"{name} product"] = lambda a=a, b=b, out=out: torch.mm(a, b, out=out)
    seconds = interleaved(runs, rounds)
    of_product = LARGE**2 / (len(queries) * len(bank))
    return [
        (
            f"{len(queries)}, {name}",
            statistics.median(seconds[name]),
            ratio(seconds["cosine, float32"], seconds[name]),
            ratio(seconds[f"{name} product"], seconds[name]) / of_product,
        )
        for name in cases
    ]


def coreset(count: int, steps: int) -> None:
    rows = torch.randn(count, WIDTH)
    start = time.perf_counter()
    greedy_coreset(rows, steps)
    spent = time.perf_counter() - start
    minutes = spent / steps * count / 10 / 60
    print(
        f"\nCoreset of {count} patches: {1000 * spent / steps:.1f} ms a step over {steps} steps, "
        f"{minutes:.1f} minutes to 10 %."
    )


if __name__ == "__main__":
    main()
