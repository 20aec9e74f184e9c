"""Heads on real sets with one backbone, as one Markdown table: image | pixel AUROC (AUPRO).

    python benchmarks/heads.py --data DIR... [--backbone vlad-tiny] --out runs/heads

A case is a head and, after a dot, a parameter of it. Results already in --out are reused, so a
stopped run resumes. A mean leaves out sets without good test images.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from leave_one_out import vlad

CASES = (
    "statistics",
    "winclip",
    "clip_ad",
    "clip_ad.text=mean",
    "anovl",
    "anovl.tta=true",
    "tipsomaly",
    "uniadet",
    "musc",
    "musc.v2=true",
)
METRICS = ("image_auroc", "pixel_auroc", "aupro")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="labelled sets")
    parser.add_argument("--backbone", default="vlad-tiny")
    parser.add_argument("--adapter", nargs="*", default=["uniadet=vlad-tiny-uniadet"])
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.adapter = dict(word.split("=", 1) for word in args.adapter)
    found = {(c, root): measured(args, c, root) for root in args.data for c in args.cases}
    print(f"image | pixel AUROC (AUPRO), in percent, {args.backbone}\n")
    print("| | " + " | ".join(root.resolve().name for root in args.data) + " | mean |")
    print("| --- |" + " --- |" * (len(args.data) + 1))
    for case in args.cases:
        rows = [found[case, root] for root in args.data]
        whole = [row for row in rows if row["image_auroc"] is not None]
        mean = {name: float(np.mean([row[name] for row in whole])) for name in METRICS}
        print(f"| {case} | " + " | ".join(map(cell, [*rows, mean])) + " |")


def measured(args: argparse.Namespace, case: str, root: Path) -> dict[str, float | None]:
    """Means over the categories of a set; None for a metric that it does not have."""
    file = args.out / f"{case}-on-{root.resolve().name}.json"
    head, _, parameter = case.partition(".")
    more = ["--param", case] if parameter else []
    if head == "uniadet":
        more += [
            word for name in args.adapter or ["vlad-tiny-uniadet"] for word in ("--adapter", name)
        ]
    if not file.is_file():
        vlad(
            "eval", str(root), "--head", head, "--backbone", args.backbone, "--device", "cpu",
            "--cache", str(args.out / "features"), "--json", str(file), *more,
        )  # fmt: skip
    each = [result["metrics"] for result in json.loads(file.read_text())["results"]]
    values = {name: [m[name] for m in each if m.get(name) is not None] for name in METRICS}
    return {name: float(np.mean(known)) if known else None for name, known in values.items()}


def cell(row: dict[str, float | None]) -> str:
    image, pixel, aupro = ("–" if row[n] is None else f"{100 * row[n]:.1f}" for n in METRICS)
    return f"{image} \\| {pixel} ({aupro})"


if __name__ == "__main__":
    main()
