"""Does vlad choose pick the head that is best on images it was not shown? One Markdown row a set.

    python benchmarks/choose.py --data DIR... [--backbone vlad-tiny] [--draws 3]

Of each set some normal images and some defects are given, drawn again each time; the heads, fitted
on those normal images, are then measured on the others. What a rule loses is the image AUROC of the
best head there minus that of the head it names.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vlad.datasets import load_dataset
from vlad.evaluation.choice import candidates, choose
from vlad.evaluation.leave_out import leave_out
from vlad.evaluation.viewer import Shown, Viewer
from vlad.heads import load_head
from vlad.metrics import auroc
from vlad.scoring.setup import Setup
from vlad.synthetic import SyntheticSet

NORMALS, DEFECTS, POOL, GOOD, BAD = 20, 16, 40, 30, 45  # images of a set, at most
RULES = ("highest", "always memory", "drawn defects", "cheapest of the level")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="labelled sets")
    parser.add_argument("--backbone", default="vlad-tiny")
    parser.add_argument("--draws", type=int, default=3)
    args = parser.parse_args()
    names = candidates(words=False)
    print(f"image AUROC on the images given → on the others, {args.backbone}; points lost\n")
    print(f"| | {' | '.join(names)} | picked | {' | '.join(RULES)} |")
    print("| --- |" + " --- |" * (len(names) + 1 + len(RULES)))
    for root in args.data:
        print(row(root, names, Setup(backbone=args.backbone, device="cpu"), args.draws), flush=True)


def row(root: Path, names: Sequence[str], setup: Setup, draws: int) -> str:
    """The means over draws of the first category of a set."""
    data = load_dataset("auto", root)
    category = next(iter(data.categories))
    rng = np.random.default_rng(0)
    pool = some(data.train(category), POOL, rng)
    test = data.test(category)
    test = [
        *some([sample for sample in test if not sample.label], GOOD, rng),
        *some([sample for sample in test if sample.label], BAD, rng),
    ]
    labels = np.array([sample.label for sample in test])
    panel = setup.panel(setup.load_backbone(), {name: load_head(name) for name in names})
    viewer = Viewer(panel, None, 2 * len(pool) + len(test))
    normals, shown = (
        list(viewer.show(setup.open_image(sample.path) for sample in samples))
        for samples in (pool, test)
    )
    drawing = SyntheticSet(pool, share=1)
    drawn = list(viewer.show(drawing.item(i).image for i in range(len(pool))))
    found = [one_draw(viewer, normals, drawn, shown, labels, seed) for seed in range(draws)]
    each = (
        f"{mean(g[n] for g, _, _, _ in found)} → {mean(h[n] for _, h, _, _ in found)}"
        for n in names
    )
    picked = ", ".join(pick for _, _, pick, _ in found)
    lost = (mean(x[rule] for _, _, _, x in found) for rule in RULES)
    return f"| {root.name} | {' | '.join(each)} | {picked} | {' | '.join(lost)} |"


def one_draw(
    viewer: Viewer,
    normals: Sequence[Shown],
    drawn: Sequence[Shown],
    shown: Sequence[Shown],
    labels: np.ndarray,
    seed: int,
) -> tuple[dict[str, float], dict[str, float], str, dict[str, float]]:
    """Image AUROC on given and other images, the head picked, and what each rule loses."""
    rng = np.random.default_rng(seed)
    own = rng.permutation(len(normals))[:NORMALS]
    bad = np.flatnonzero(labels)
    given = rng.permutation(bad)[: min(DEFECTS, len(bad) // 2)]
    others = np.setdiff1d(np.arange(len(labels)), given)
    scores = {
        name: leave_out(
            viewer,
            name,
            [normals[i] for i in own],
            [[drawn[i]] for i in own],
            [shown[i] for i in given],
            [shown[i] for i in others],
        )
        for name in viewer.panel.heads
    }
    choice = choose(scores)
    held_out = {name: auroc(x.parts, labels[others]) for name, x in scores.items()}
    rows = {row.head: row for row in choice.rows}
    named = (
        choice.pick,
        "memory",
        max(rows, key=lambda name: rows[name].drawn),
        min(choice.level, key=lambda name: rows[name].seconds),
    )
    best = max(held_out.values())
    lost = {rule: best - held_out[name] for rule, name in zip(RULES, named, strict=True)}
    return {name: rows[name].auroc for name in rows}, held_out, choice.pick, lost


def some(samples: Sequence, most: int, rng: np.random.Generator) -> list:
    return [samples[i] for i in sorted(rng.permutation(len(samples))[:most])]


def mean(values) -> str:
    return f"{100 * np.mean(list(values)):.1f}"


if __name__ == "__main__":
    main()
