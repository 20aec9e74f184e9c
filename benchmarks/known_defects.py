"""`labelled` with a few known defects against `memory`: image | pixel AUROC (AUPRO) in percent.

    python benchmarks/known_defects.py --data DIR... [--known 4] [--seeds 0 1 2] --out runs/known

For each seed, normal images are drawn for both heads, and marked defects of the test for
`labelled`; the test leaves these out, for both. Results already in --out are reused.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np

from vlad.backbones import load_backbone
from vlad.datasets import load_dataset
from vlad.evaluation import Entry, evaluate_category
from vlad.heads import load_head
from vlad.scoring.setup import Setup

HEADS = ("memory", "labelled")
METRICS = ("image_auroc", "pixel_auroc", "aupro")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="labelled sets")
    parser.add_argument("--backbone", default="vlad-tiny")
    parser.add_argument("--k-shot", type=int, default=4)
    parser.add_argument("--known", type=int, default=4, help="defects shown to labelled")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    setup = Setup(args.backbone, "cpu", cache=str(args.out / "features"))
    backbone = load_backbone(args.backbone, "cpu")
    print("| | " + " | ".join(HEADS) + " | seeds better (image, pixel) |")
    print("| --- | --- | --- | --- |")
    rows = [
        {**measured(args, setup, backbone, root, name), "name": name}
        for root in args.data
        for name in load_dataset("auto", root).categories
    ]
    for row in rows:
        print(f"| {row['name']} | {cell(row['memory'])} | {cell(row['labelled'])} | {wins(row)} |")
    means = {head: np.mean([np.mean(row[head], axis=0) for row in rows], axis=0) for head in HEADS}
    print(f"| mean | {one(means['memory'])} | {one(means['labelled'])} | |")


def measured(args, setup: Setup, backbone, root: Path, name: str) -> dict[str, list]:
    """Head -> metrics of each seed."""
    file = args.out / f"{root.resolve().name}-{name}-{args.k_shot}-{args.known}.json"
    if file.is_file():
        return json.loads(file.read_text())
    data = load_dataset("auto", root)
    found: dict[str, list] = {head: [] for head in HEADS}
    for seed in args.seeds:
        test = data.test(name)
        marked = [sample for sample in test if sample.mask]
        drawn = np.random.default_rng(seed).choice(len(marked), args.known, replace=False)
        entries = [Entry(head, load_head(head), args.k_shot, seed) for head in HEADS]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*are known defects")
            results = evaluate_category(
                backbone,
                entries,
                name,
                data.train(name),
                test,
                setup,
                known=[marked[i] for i in drawn],
            )
        for result in results:
            found[result.head].append([result.metrics[metric] for metric in METRICS])
    file.write_text(json.dumps(found))
    return found


def one(values) -> str:
    image, pixel, aupro = (f"{100 * value:.1f}" for value in values)
    return f"{image} \\| {pixel} ({aupro})"


def cell(seeds: list) -> str:
    """Mean over seeds, and the standard deviation of both AUROCs."""
    image, pixel, _ = 100 * np.std(seeds, axis=0)
    return f"{one(np.mean(seeds, axis=0))} ± {image:.1f} \\| {pixel:.1f}"


def wins(row: dict) -> str:
    better = np.array(row["labelled"]) > np.array(row["memory"])
    image, pixel, _ = better.sum(axis=0)
    return f"{image}, {pixel} of {len(better)}"


if __name__ == "__main__":
    main()
