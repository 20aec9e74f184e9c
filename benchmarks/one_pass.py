"""Several heads together against each of them alone: what sharing the backbone's passes saves.

    python benchmarks/one_pass.py [--backbone vlad-tiny | ViT-B-16-plus-240] [--images 16]
        [--zero-shot | --alone]

Every round times each head alone and all together, interleaved in one process. It prints medians,
what each costs in units of the passes it needs, and the ratio of "all" to its backbone passes, to
the slowest single head and to the sum of all. With --zero-shot the heads are those that need
neither an adapter nor normal images. With --alone they are those that need no normal images, and
are not timed together. anovl goes without its views. Learned tensors are random: time does not
depend on them. Prompts are embedded and heads fit before the clock starts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from seeded import backbone_of, random_adapter, random_model
from timing import machine, ratio, table

from vlad.backbones import load_backbone
from vlad.backbones.backbone import Backbone
from vlad.heads import Head, head_names, load_head
from vlad.scoring.panel import Panel

HEADS = ("winclip", "memory", "musc", "april_gan", "anomalyclip")
ALONE = (
    "winclip",
    "clip_ad",
    "anovl",
    "tipsomaly",
    "uniadet",
    "april_gan",
    "anomalyclip",
    "adaptclip",
    "filo",
    "sowa",
    "hftt",
    "adaclip",
)
PARAMS = {"anovl": {"views": False}}  # 21 further passes would hide what heads cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vlad-tiny", help="random weights but for vlad-tiny")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--zero-shot", action="store_true", help="heads that need no adapter")
    which.add_argument("--alone", action="store_true", help="each head without normal images")
    options = parser.parse_args()

    backbone = (
        load_backbone("vlad-tiny", "cpu")
        if options.backbone == "vlad-tiny"
        else backbone_of(options.backbone, random_model(options.backbone))
    )
    images = drawn(options.images)
    heads = zero_shot() if options.zero_shot else ALONE if options.alone else HEADS
    with tempfile.TemporaryDirectory() as folder:
        panels = {
            names: panel(backbone, names, Path(folder), images[:4])
            for names in (*((name,) for name in heads), *([] if options.alone else [heads]))
        }
        seconds = {names: [] for names in panels}
        passes = {names: [] for names in panels}
        for turn in range(options.rounds + 1):
            for names in reversed(panels) if turn % 2 else panels:
                made = panels[names]
                made.clock.restart()
                spent = timed(made, images, options.batch_size)
                if turn:  # the first round warms up
                    seconds[names].append(spent)
                    passes[names].append(made.clock.seconds["backbone"])
    medians = {names: statistics.median(values) for names, values in seconds.items()}
    print(f"{machine()}\n\n{options.backbone}, batches of {options.batch_size}\n")
    lines = [
        (" + ".join(names), median / len(images), ratio(seconds[names], passes[names]))
        for names, median in medians.items()
    ]
    if options.alone:
        print(table(lines, ["head", "s an image", "of its passes"]))
        return
    lines.append(("the backbone passes of all", statistics.median(passes[heads]) / len(images), 1))
    print(table(lines, ["heads", "s an image", "of its passes"]))
    print(f"\nall / their backbone passes: {ratio(seconds[heads], passes[heads]):.2f}")
    alone = {names[0]: value for names, value in medians.items() if len(names) == 1}
    dearest = max(alone, key=alone.get)
    print(f"all / {dearest} alone: {medians[heads] / alone[dearest]:.2f}")
    print(f"all / sum of each alone: {medians[heads] / sum(alone.values()):.2f}")


def zero_shot() -> tuple[str, ...]:
    """The heads that score with a backbone alone."""
    made = {name: load_head(name) for name in head_names()}
    return tuple(
        name for name, head in made.items() if head.normals != "needed" and not needs_adapter(head)
    )


def needs_adapter(head: Head) -> bool:
    return getattr(head, "needs_adapter", False)


def drawn(count: int) -> list[Image.Image]:
    """Noise of one size: time does not depend on the content of an image."""
    random = np.random.default_rng(0)
    return [
        Image.fromarray(random.integers(0, 256, (300, 300, 3), dtype=np.uint8))
        for _ in range(count)
    ]


def panel(backbone: Backbone, names: tuple[str, ...], folder: Path, normals: list) -> Panel:
    """The heads on one backbone, fitted, with their prompts embedded."""
    heads = {}
    for name in names:
        if needs_adapter(load_head(name)):
            heads[name] = load_head(
                name, adapter=str(random_adapter(name, backbone, folder / name))
            )
        else:
            heads[name] = load_head(name, **PARAMS.get(name, {}))
    made = Panel(backbone, heads)
    made.fit(normals, [name for name in names if heads[name].normals == "needed"])
    for name in names:
        made.text(name, "nut")
    return made


def timed(made: Panel, images: list, batch_size: int) -> float:
    """Seconds from decoded images to maps and scores."""
    start = time.perf_counter()
    pools = {}
    for at in range(0, len(images), batch_size):
        batch = [made.prepare(image) for image in images[at : at + batch_size]]
        made.score(batch, "nut", pools)
    for pool in pools.values():
        for _ in pool.scores():
            pass
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
