"""Five heads together against each of them alone: what sharing the tower's passes saves.

    python benchmarks/one_pass.py [--backbone vlad-tiny | ViT-B-16-plus-240] [--pictures 16]

Every round times each head alone and all together, interleaved in one process; printed are medians,
and the ratio of "all" to the tower passes it needs, to the dearest single head and to the sum of
all. Learned tensors are random: time does not depend
on them. Prompts are embedded and normal pictures remembered before the clock starts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from seeded import random_adapter, random_model, tower_of
from timing import machine, ratio, table

from vlad.backbones import load_tower
from vlad.backbones.tower import Tower
from vlad.heads import load_head
from vlad.scoring.panel import Panel

HEADS = ("winclip", "memory", "musc", "april_gan", "anomalyclip")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vlad-tiny", help="random weights but for vlad-tiny")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()

    tower = (
        load_tower("vlad-tiny", "cpu")
        if options.backbone == "vlad-tiny"
        else tower_of(options.backbone, random_model(options.backbone))
    )
    pictures = drawn(options.pictures)
    with tempfile.TemporaryDirectory() as folder:
        panels = {
            names: panel(tower, names, Path(folder), pictures[:4])
            for names in (*((name,) for name in HEADS), HEADS)
        }
        seconds = {names: [] for names in panels}
        passes = []
        for turn in range(options.rounds + 1):
            for names, made in panels.items():
                made.seconds.clear()
                spent = timed(made, pictures, options.batch_size)
                if turn:  # the first round warms up
                    seconds[names].append(spent)
                    if names == HEADS:
                        passes.append(made.seconds["tower"])
    medians = {names: statistics.median(values) for names, values in seconds.items()}
    print(f"{machine()}\n\n{options.backbone}, batches of {options.batch_size}\n")
    lines = [(" + ".join(names), median / len(pictures)) for names, median in medians.items()]
    lines.append(("the tower passes of all", statistics.median(passes) / len(pictures)))
    print(table(lines, ["heads", "s a picture"]))
    print(f"\nall five / their tower passes: {ratio(seconds[HEADS], passes):.2f}")
    alone = {names[0]: value for names, value in medians.items() if len(names) == 1}
    dearest = max(alone, key=alone.get)
    print(f"all five / {dearest} alone: {medians[HEADS] / alone[dearest]:.2f}")
    print(f"all five / sum of each alone: {medians[HEADS] / sum(alone.values()):.2f}")


def drawn(count: int) -> list[Image.Image]:
    """Noise of one size: what a picture shows does not change how long it takes."""
    random = np.random.default_rng(0)
    return [
        Image.fromarray(random.integers(0, 256, (300, 300, 3), dtype=np.uint8))
        for _ in range(count)
    ]


def panel(tower: Tower, names: tuple[str, ...], folder: Path, normals: list) -> Panel:
    """The heads on one tower, fitted, with their prompts embedded."""
    heads = {}
    for name in names:
        if name in ("april_gan", "anomalyclip"):
            heads[name] = load_head(name, adapter=str(random_adapter(name, tower, folder / name)))
        else:
            heads[name] = load_head(name)
    made = Panel(tower, heads)
    made.fit(normals, [name for name in names if heads[name].normals == "needed"])
    for name in names:
        made.text(name, "nut")
    return made


def timed(made: Panel, pictures: list, batch_size: int) -> float:
    """Seconds from decoded pictures to maps and scores."""
    start = time.perf_counter()
    pools = {}
    for at in range(0, len(pictures), batch_size):
        batch = [made.prepare(picture) for picture in pictures[at : at + batch_size]]
        made.score(batch, "nut", pools)
    for pool in pools.values():
        for _ in pool.scores():
            pass
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
