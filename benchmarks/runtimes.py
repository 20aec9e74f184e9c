"""Cost and effect of runtimes and precisions: seconds per image, deviation, AUROC.

    python benchmarks/runtimes.py [--data FOLDER/bottle] [--rounds 5] [--skip-large]

Two tables in Markdown. For the large backbone (seeded random weights), the plain pass to the last
block at several image sizes and WinCLIP's pass with windows, of one image: seconds and the ratio of
torch in float32 to each. For vlad-tiny on images in MVTec layout, the deviation of maps and metrics
of winclip and memory from torch in float32. Graphs are created before the clock starts.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from seeded import backbone_of, random_model
from timing import interleaved, machine, ratio, table

from vlad.backbones import load_backbone
from vlad.backbones.backbone import Backbone
from vlad.backbones.runtimes import OUTSIDE_TORCH, load_runtime, use
from vlad.datasets import load_dataset
from vlad.demo import HAZELNUT
from vlad.evaluation import Entry, evaluate_category
from vlad.heads import load_head
from vlad.images import read_image
from vlad.scoring.panel import Panel

LARGE = "ViT-B-16-plus-240"
WAYS = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("onnx", "float32"),
    ("onnx", "int8"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
)
COMPILED = (("compile", "float32"), ("compile", "bfloat16"))
# column -> (pixels a side, sides of WinCLIP's windows)
PASSES = {
    "240 pixels": (240, ()),
    "336 pixels": (336, ()),
    "480 pixels": (480, ()),
    "240 pixels, WinCLIP's windows": (240, (2, 3)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HAZELNUT, help="a category in MVTec layout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-large", action="store_true")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.CRITICAL)
    print(f"{machine(['onnxruntime', 'openvino'])}\n")
    if not options.skip_large:
        print(f"{LARGE}, batches of one, {options.rounds} rounds: s an image (times faster)\n")
        print(table(times(options.rounds), ["runtime", "dtype", *PASSES]))
    print(f"\nvlad-tiny on {options.data.name}, against torch in float32\n")
    header = ["runtime", "dtype", "head", "image AUROC", "pixel AUROC", "map, largest", "map, mean"]
    print(table(deviations(options.data), header))


def by(backbone: Backbone, runtime: str, dtype: str) -> Backbone:
    """A fresh backbone in another runtime or precision."""
    if runtime in OUTSIDE_TORCH:
        return use(backbone.to("cpu"), load_runtime(runtime, dtype))
    backbone = backbone.to("cpu", getattr(torch, dtype))
    return backbone if runtime == "torch" else use(backbone, load_runtime(runtime, dtype))


@torch.no_grad()
def times(rounds: int) -> list[list[str]]:
    ways = WAYS + COMPILED
    cells: dict[tuple[str, str], list[str]] = {way: [] for way in ways}
    for side, windows in PASSES.values():
        torch.compiler.reset()  # it compiles the same code eight times at most
        pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        cases = {}
        for way in ways:
            backbone = by(backbone_of(LARGE, random_model(LARGE)), *way)
            cases[way] = partial(backbone.forward, pixels, taps=[(None, 12)], windows=windows)
            cases[way]()
            if way[0] in OUTSIDE_TORCH:
                backbone.model.to("meta")  # the graph has its own weights
        seconds = interleaved(cases, rounds)
        for way, spent in seconds.items():
            faster = ratio(seconds[WAYS[0]], spent)
            cells[way].append(f"{statistics.median(spent):.3f} ({faster:.2f})")
    return [[*way, *found] for way, found in cells.items()]


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
