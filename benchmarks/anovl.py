"""The five steps of AnoVL's test-time adapter against the matrix products that they need.

    python benchmarks/anovl.py [--images 1] [--rounds 15]

Sizes are those of ViT-B-16-plus-240: 225 patches, 924 sentences, 640 dimensions; values are random.
A step needs two products forward (adapter, mixture of sentences) and two backward, over clean and
noisy tokens, and a step of AdamW; nothing is learned from tokens, so no other gradient is needed.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from timing import interleaved, machine, ratio, table

from vlad.heads.anovl import LEARNING_RATE, NOISE, STEPS, adapt, fit_adapter

PATCHES, SENTENCES, WIDTH = 225, 924, 640


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.manual_seed(0)
    with torch.no_grad():
        seconds = interleaved(cases(options.images), options.rounds)
    print(f"{machine()}\n\n{options.images} images at once, medians of {options.rounds} rounds\n")
    rows = [
        (
            name,
            1000 * statistics.median(spent) / options.images,
            ratio(spent, seconds["products and AdamW"]),
            ratio(spent, seconds["forward"]),
        )
        for name, spent in seconds.items()
    ]
    print(table(rows, ["five times", "ms an image", "of the products", "of forward"]))


def cases(images: int) -> dict[str, Callable[[], object]]:
    """What is timed, on the same random values."""
    tokens = 0.1 * torch.randn(images, PATCHES, WIDTH)
    sentences, sides = (F.normalize(torch.randn(n, WIDTH), dim=-1) for n in (SENTENCES, 2))
    noise = NOISE * torch.randn(STEPS, PATCHES, WIDTH)
    start = [torch.rand(images, SENTENCES, WIDTH) - 0.5, torch.rand(images, SENTENCES) - 0.5]

    def learned() -> tuple[list[torch.Tensor], torch.optim.Optimizer]:
        copies = [x.clone() for x in start]
        return copies, torch.optim.AdamW(copies, lr=LEARNING_RATE, fused=True)

    def fit() -> None:
        (weight, bias), optimiser = learned()
        fit_adapter(tokens, weight, bias, sentences, sides, noise, optimiser)

    def forward() -> None:
        for draw in noise:
            adapt(torch.cat([tokens, tokens + draw], dim=1), *start, sentences)

    def products() -> None:
        (weight, bias), optimiser = learned()
        both = torch.cat([tokens, tokens], dim=1)
        hidden = both.new_empty(images, 2 * PATCHES, SENTENCES)
        mixed, bias.grad, weight.grad = (torch.zeros_like(x) for x in (both, bias, weight))
        for _ in range(STEPS):
            torch.bmm(both, weight.transpose(1, 2), out=hidden)
            torch.mm(hidden.flatten(0, 1), sentences, out=mixed.flatten(0, 1))
            torch.mm(mixed.flatten(0, 1), sentences.T, out=hidden.flatten(0, 1))
            torch.bmm(hidden.transpose(1, 2), both, out=weight.grad)
            optimiser.step()

    return {"fit_adapter": fit, "products and AdamW": products, "forward": forward}


if __name__ == "__main__":
    main()
