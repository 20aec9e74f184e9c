"""Cost and effect of runtimes and precisions: seconds per image, deviation, AUROC.

    python benchmarks/runtimes.py [--data FOLDER/bottle] [--rounds 5] [--skip-large]

Two tables in Markdown. For the large backbone (seeded random weights), the plain pass to the last
block and WinCLIP's pass with windows, of one image: every round times each runtime in turn; it
prints medians and the ratio of torch in float32 to each. For vlad-tiny on images in MVTec layout,
the deviation of maps and metrics of winclip and memory from torch in float32. Graphs are created
before the clock starts.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
from seeded import backbone_of, random_model

from vlad.backbones import load_backbone
from vlad.backbones.backbone import Backbone
from vlad.backbones.runtimes import OUTSIDE_TORCH, load_runtime, use
from vlad.datasets import load_dataset
from vlad.demo import HAZELNUT
from vlad.evaluation import Entry, evaluate_category
from vlad.heads import load_head
from vlad.images import read_image
from vlad.scoring.panel import Panel
from vlad.system.machine import machine

LARGE = "ViT-B-16-plus-240"
WAYS = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("onnx", "float32"),
    ("onnx", "int8"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HAZELNUT, help="a category in MVTec layout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-large", action="store_true")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.CRITICAL)
    facts = machine(torch.device("cpu"))
    listed = ", ".join(f"{name} {value}" for name, value in facts.items())
    versions = {name: load_runtime(name).version for name in OUTSIDE_TORCH}
    print(f"{date.today()}; {listed}, {', '.join(f'{k} {v}' for k, v in versions.items())}\n")
    if not options.skip_large:
        print(f"Seconds an image, {LARGE}, batches of one, median of {options.rounds} rounds.\n")
        table(
            ["runtime", "dtype", "plain pass", "× faster", "WinCLIP's pass", "× faster"],
            times(options.rounds),
        )
    print(f"\nvlad-tiny on {options.data.name}, against torch in float32.\n")
    table(
        ["runtime", "dtype", "head", "image AUROC", "pixel AUROC", "map, largest", "map, mean"],
        deviations(options.data),
    )


def table(head: list[str], rows: list[list[str]]) -> None:
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |", flush=True)


def by(backbone: Backbone, runtime: str, dtype: str) -> Backbone:
    """A fresh backbone in another runtime or precision."""
    if runtime in OUTSIDE_TORCH:
        return use(backbone.to("cpu"), load_runtime(runtime, dtype))
    return backbone.to("cpu", getattr(torch, dtype))


@torch.no_grad()
def times(rounds: int) -> list[list[str]]:
    pixels = torch.randn(1, 3, 240, 240, generator=torch.Generator().manual_seed(0))
    medians = {}
    for kind, windows in (("plain", ()), ("windows", (2, 3))):
        options = {"taps": [(None, 12)], "windows": windows}
        backbones = {way: by(backbone_of(LARGE, random_model(LARGE)), *way) for way in WAYS}
        for backbone in backbones.values():
            backbone.forward(pixels, **options)
            if backbone.runtime in OUTSIDE_TORCH:
                backbone.model.to("meta")  # the graph has its own weights
        seconds = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, backbone in backbones.items():
                start = time.perf_counter()
                backbone.forward(pixels, **options)
                seconds[way].append(time.perf_counter() - start)
        medians[kind] = {way: statistics.median(spent) for way, spent in seconds.items()}
    return [
        [*way]
        + [
            cell
            for found in medians.values()
            for cell in (f"{found[way]:.3f}", f"{found[WAYS[0]] / found[way]:.2f}")
        ]
        for way in WAYS
    ]


def deviations(folder: Path) -> list[list[str]]:
    data = load_dataset("mvtec", folder)
    (category,) = data.categories
    test, train = data.test(category), data.train(category)
    rows, maps = [], {}
    for way in WAYS:
        backbone = by(load_backbone("vlad-tiny", "cpu"), *way)
        entries = [Entry("winclip", load_head("winclip"), 0, 0)]
        entries += [Entry("memory", load_head("memory"), 4, 0)]
        results = evaluate_category(backbone, entries, category, train, test)
        for entry, result in zip(entries, results, strict=True):
            panel = Panel(backbone, {entry.name: entry.head})
            prepared = [panel.prepare(read_image(sample.path)) for sample in test]
            parts = (panel.score([one], category)[entry.name].numpy() for one in prepared)
            found = np.concatenate([part.anomaly_map for part in parts])
            off = np.abs(found - maps.setdefault(entry.name, found))
            scale = np.ptp(maps[entry.name])
            rows.append(
                [*way, entry.name]
                + [f"{100 * result.metrics[f'{x}_auroc']:.1f}" for x in ("image", "pixel")]
                + [f"{off.max() / scale:.1e}", f"{off.mean() / scale:.1e}"]
            )
    return rows


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        import os

        os.environ.setdefault("VLAD_CACHE", cache)
        main()
