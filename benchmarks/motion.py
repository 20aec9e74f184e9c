"""Does motion help? Appearance against change, on footage drawn from real images.

    python benchmarks/motion.py DATA lanes|belt [--frames N] [--seed S] [--backbone NAME]
    python benchmarks/motion.py DATA lanes --out OUT

DATA is a category in MVTec layout. Two scenes at 5 frames a second: `lanes`, where good objects
cross slowly in two lanes and the anomaly is one that crosses fast, normal in any still frame; and
`belt`, where all objects move alike and the anomaly is a defect. Prints the frame AUROC of

    appearance   distance of patches to the nearest of normal frames, as head memory has it
    change       the same on images of the change since the frame before
    tokens       distance of the change of each patch token to the nearest normal change
    pixels       largest mean change of brightness of cells of 15 pixels, no memory
    both         the larger of appearance and one of the others, as the column combined of `vlad
                 video --motion`, scaled on normal frames that gave no references

and, second, that of the scores smoothed by a Gaussian of 0.4 s. The first frame of a video has the
change of the second. With --out, no figures: writes the scene `lanes` for `vlad video`, as
`footage.py` does, and `quiet.mp4` for --motion, of which `good/` has frames:

    vlad video OUT/test.mp4 --normal OUT/good --motion OUT/quiet.mp4 \
        --normal-footage OUT/normal.mp4 --alarms-per-hour 75 --smooth gaussian=0.4 --out RUN
    python benchmarks/footage_events.py OUT RUN
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from footage import (
    HEIGHT,
    SPACE,
    SPEED,
    WIDTH,
    Part,
    View,
    bad_parts,
    belt,
    film,
    good_parts,
    label,
)
from footage import RATE as FPS
from PIL import Image

from vlad.backbones import load_backbone
from vlad.heads import load_head
from vlad.images.video.change import change_of
from vlad.maths.neighbours import Bank, Metric
from vlad.metrics import frame_metrics
from vlad.scoring.panel import Panel
from vlad.time import Smoothing, combine, scale_of

SMALL = 98  # pixels, an object in a lane
SLOW, FAST = (15, 30), (82, 120)  # pixels a frame
REFERENCES = 16  # normal frames


def lanes(
    parts: list[Part], frames: int, intruders: int, generator: np.random.Generator
) -> Iterator[View]:
    """Frames of two lanes; fast objects count as defects."""
    images = [
        np.asarray(Image.fromarray(p.image.astype(np.uint8)).resize((SMALL, SMALL)), np.float32)
        for p in parts
    ]
    border = np.median(np.concatenate([image[0] for image in images[:20]]), axis=0)
    texture = generator.normal(0, 4, (HEIGHT, WIDTH, 1)).astype(np.float32)
    due = [round(frames * (n + 0.5) / intruders) for n in range(intruders)]
    moving: list[list] = [[], []]  # of each lane: [x, pixels a frame, image, number if fast]
    for number in range(frames):
        frame, fast = border + texture, {}
        for lane, objects in enumerate(moving):
            clear = all(o[0] < WIDTH - 2 * SMALL for o in objects)
            image = images[generator.integers(len(images))]
            if lane == 0 and due and number >= due[0]:  # its lane becomes empty first
                if not objects:
                    due.pop(0)
                    count = intruders - len(due)
                    objects.append([WIDTH - FAST[0], generator.uniform(*FAST), image, count])
            elif clear and not any(o[3] for o in objects) and generator.random() < 0.15:
                speed = min([o[1] for o in objects], default=SLOW[1])
                objects.append([WIDTH, generator.uniform(SLOW[0], speed), image, 0])
            for one in objects:
                left, right = int(max(0, one[0])), int(min(WIDTH, one[0] + SMALL))
                if right > left:
                    at = left - int(one[0])
                    top = 22 + lane * 128
                    if one[3]:
                        fast[one[3]] = np.zeros((HEIGHT, WIDTH), bool)
                        fast[one[3]][top : top + SMALL, left:right] = True
                    frame[top : top + SMALL, left:right] = one[2][:, at : at + right - left]
                one[0] -= one[1]
            moving[lane] = [o for o in objects if o[0] > -SMALL]
        frame = frame + generator.normal(0, 2, frame.shape)
        yield View(np.clip(frame, 0, 255).astype(np.uint8), fast)


def write(out: Path, parts: list[Part], frames: int, generator: np.random.Generator) -> None:
    """Write the scene of lanes as videos."""
    (out / "good").mkdir(parents=True, exist_ok=True)
    quiet = film(out / "quiet.mp4", lanes(parts, frames, 0, generator))
    for number, view in enumerate(quiet):
        if number % max(1, frames // REFERENCES) == 0:
            Image.fromarray(view.pixels).save(out / "good" / f"{number:04}.png")
    for _ in film(out / "normal.mp4", lanes(parts, frames, 0, generator)):
        pass
    test = lanes(parts, frames, frames // 40, generator)
    label(out / "labels.csv", film(out / "test.mp4", test))


def tokens_of(panel: Panel, images: list[Image.Image]) -> list[torch.Tensor]:
    """Of each layer that head memory compares, (N, h·w, C) of unit length."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), 16):
            prepared = [panel.prepare(image) for image in images[start : start + 16]]
            (found,) = panel.extractor.extract(prepared, [panel.specs["memory"]])
            parts.append([torch.nn.functional.normalize(x, dim=-1) for x in found.patches.values()])
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


def changes(frames: list[np.ndarray]) -> list[Image.Image]:
    images = [Image.fromarray(frame) for frame in frames]
    found = [change_of(now, before) for before, now in pairwise(images)]
    return [found[0], *found]


def distances(layers: list[torch.Tensor], references: int, metric: Metric) -> np.ndarray:
    """Scores as head memory gives them, of all frames; the first ones hold the references."""
    total: torch.Tensor | float = 0.0
    step = max(1, references // REFERENCES)
    for tokens in layers:
        bank = Bank(tokens[:references:step].flatten(0, 1), metric)
        total = total + bank.nearest(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
    assert isinstance(total, torch.Tensor)
    count = max(1, round(0.01 * total.shape[1]))
    return total.topk(count, dim=1).values.mean(dim=1).numpy()


def pixels(frames: list[np.ndarray]) -> np.ndarray:
    grey = np.stack([frame.mean(axis=2) for frame in frames])
    apart = np.abs(np.diff(grey, axis=0, prepend=grey[:1]))
    return (
        apart.reshape(len(grey), HEIGHT // 15, 15, WIDTH // 15, 15)
        .mean(axis=(2, 4))
        .max(axis=(1, 2))
    )


def measured(panel: Panel, normal: list[np.ndarray], test: list[np.ndarray], labels) -> None:
    """Print a row for each way; references are of the first half of the normal frames."""
    half = len(normal) // 2
    frames = [*normal, *test]
    images = [Image.fromarray(frame) for frame in frames]
    looks = tokens_of(panel, images)
    moves = [x - torch.cat([x[:1], x[:-1]]) for x in looks]
    changed = tokens_of(panel, [*changes(normal), *changes(test)])
    rows = {
        "appearance": distances(looks, half, "cosine"),
        "change": distances(changed, half, "cosine"),
        "tokens": distances(moves, half, "squared_l2"),
        "pixels": pixels(frames),
    }
    for name in ("tokens", "pixels"):  # between the two videos, and before the first
        rows[name][[0, len(normal)]] = rows[name][[1, len(normal) + 1]]
    for name in ("change", "tokens"):
        two = {one: rows[one] for one in ("appearance", name)}
        scales = {one: scale_of(scores[half : len(normal)]) for one, scores in two.items()}
        rows[f"both, {name}"] = combine(two, scales)
    seconds = np.arange(len(labels)) / FPS
    for name, scores in rows.items():
        own = scores[len(normal) :]
        smooth = Smoothing("gaussian", 0.4)(seconds, own, 10.0)
        plain, smoothed = (frame_metrics([one], [labels]).micro for one in (own, smooth))
        print(f"  {name:12} {100 * plain:5.1f} {100 * smoothed:5.1f}", flush=True)


def split(views: Iterator[View]) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames, and which of them show a defect."""
    images, labels = zip(*((view.pixels, bool(view.defects)) for view in views), strict=True)
    return list(images), np.array(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("scene", choices=("lanes", "belt"))
    parser.add_argument("--frames", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backbone", default="vlad-tiny")
    parser.add_argument("--out", type=Path, help="write the scene lanes here")
    given = parser.parse_args()
    generator = np.random.default_rng(given.seed)
    good, bad = good_parts(given.data), bad_parts(given.data)
    if given.out:
        write(given.out, good, given.frames, generator)
        return
    panel = Panel(load_backbone(given.backbone), {"memory": load_head("memory")})
    if given.scene == "lanes":
        normal, _ = split(lanes(good, given.frames, 0, generator))
        test, labels = split(lanes(good, given.frames, given.frames // 40, generator))
        print(f"lanes, a fast object in {labels.sum()} of {len(labels)} frames:", flush=True)
        measured(panel, normal, test, labels)
        return
    count = (given.frames * SPEED - WIDTH) // SPACE
    normal, _ = split(belt(drawn(good, count, generator), generator))
    parts = drawn(good, count, generator)
    for place in generator.choice(count, max(1, count // 4), replace=False):
        parts[place] = bad[generator.integers(0, len(bad))]
    test, labels = split(belt(parts, generator))
    print(f"belt, a defect in {labels.sum()} of {len(labels)} frames:", flush=True)
    measured(panel, normal, test, labels)


def drawn(parts: list[Part], count: int, generator: np.random.Generator) -> list[Part]:
    return [parts[i] for i in generator.integers(0, len(parts), count)]


if __name__ == "__main__":
    main()
