"""Do explanations point at the defect? The share of defective images whose first region does.

    python benchmarks/explained.py --data DIR... --out runs/explained

Of each set, heads are shown the same normal images, and `labelled` some defects, which no head is
tested on. A first region hits if a pixel of it is marked, and points if its middle lies within one
patch of what is marked. Chance is the same region at every place of the image where it fits. For
heads that name the nearest reference patch: the share of these within two patches of the place of
the image's own, and the share of all places that are. Results already in --out are reused.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.signal import fftconvolve

import vlad
from vlad.datasets import load_dataset
from vlad.detector import Detector
from vlad.images import read_image
from vlad.images.masks import read_mask, resize_mask
from vlad.reasons import Explanation, explain
from vlad.results.regions import each_region
from vlad.scoring.known import fit_known
from vlad.types import NearestPatch, Sample

HEADS = ("memory", "subspace", "statistics", "mvg", "padim", "visual_words", "labelled", "winclip")
NEAR = 2  # patches, in any direction, within which two places are the same
CATEGORIES = {"ball_screw": "ball screw", "pcb": "circuit board", "tile": "magnetic tile"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="labelled sets")
    parser.add_argument("--backbone", default="vlad-tiny")
    parser.add_argument("--heads", nargs="+", default=HEADS)
    parser.add_argument("--k-shot", type=int, default=16)
    parser.add_argument("--known", type=int, default=4, help="defects shown to labelled")
    parser.add_argument("--most", type=int, default=60, help="defective images of a set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    print("| set | head | images | hits | chance | points | chance | same place | chance |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for root in args.data:
        for name in load_dataset("auto", root).categories:
            for head in args.heads:
                rows = measured(args, root, name, head)
                print(
                    f"| {name} | `{head}` | {len(rows)} | {' | '.join(means(rows))} |", flush=True
                )


def measured(args, root: Path, name: str, head: str) -> list[dict]:
    """Each tested image: what its first region hits, and by chance would."""
    file = args.out / f"{root.resolve().name}-{name}-{head}.json"
    if file.is_file():
        return json.loads(file.read_text())
    data, random = load_dataset("auto", root), np.random.default_rng(args.seed)
    normal = data.train(name)
    drawn = random.permutation(len(normal))[: args.k_shot]
    marked = [sample for sample in data.test(name) if sample.mask]
    order = [marked[i] for i in random.permutation(len(marked))]
    known, tested = order[: args.known], order[args.known :][: args.most]
    detector = vlad.load(head, backbone=args.backbone, category=CATEGORIES.get(name, name))
    if head == "labelled":
        detector.fit([normal[i].path for i in drawn])
        fit_known(detector.panel_, known, read_image)
    elif head != "winclip":
        detector.fit([normal[i].path for i in drawn])
    rows = [row(detector, sample) for sample in tested]
    file.write_text(json.dumps(rows))
    return rows


def row(detector: Detector, sample: Sample) -> dict:
    # without the crops of reference images, which Detector.explain reads
    found = explain(detector.panel_, read_image(sample.path), category=detector.category)
    region = first_region(found)
    mask = resize_mask(read_mask(sample.mask), region.shape, above=0)
    info = detector.panel_.backbone.info
    grid = (info.image_size // info.patch_size,) * 2
    patch = region.shape[0] // grid[0]
    near = ndimage.maximum_filter(mask, 2 * patch + 1)
    middle = np.zeros_like(region)
    down, across = ndimage.center_of_mass(region)
    middle[round(down), round(across)] = True
    measured = {
        "hits": bool((region & mask).any()),
        "hits by chance": by_chance(region, region, mask),
        "points": bool((middle & near).any()),
        "points by chance": by_chance(region, middle, near),
    }
    nearest = [x for x in found.regions[0].reasons if isinstance(x, NearestPatch)]
    if nearest and nearest[0].cell is not None:
        pairs = list(zip(nearest[0].cell, nearest[0].patch, strict=True))
        measured["same place"] = max(abs(a - b) for a, b in pairs) <= NEAR
        spans = [
            min(own + NEAR, side - 1) - max(own - NEAR, 0) + 1
            for (_, own), side in zip(pairs, grid, strict=True)
        ]
        measured["same place by chance"] = spans[0] * spans[1] / (grid[0] * grid[1])
    return measured


def first_region(found: Explanation) -> np.ndarray:
    """(H, W) bool, the pixels of the largest region of the map."""
    both = each_region(found.anomaly_map, found.level, found.size)
    return max(both, key=lambda one: one[0].area)[1]


def by_chance(region: np.ndarray, pixels: np.ndarray, mask: np.ndarray) -> float:
    """Share of the places where a region fits in the image at which some `pixels` are marked."""
    (down, across), (height, width) = ndimage.find_objects(region.astype(int))[0], region.shape
    shape = pixels[down, across].astype(float)
    # each place of the region's box: how many of its pixels are marked there
    hits = fftconvolve(mask.astype(float), shape[::-1, ::-1], mode="valid")
    assert hits.shape == (height - shape.shape[0] + 1, width - shape.shape[1] + 1)
    return float((hits > 0.5).mean())


def means(rows: list[dict]) -> list[str]:
    keys = ("hits", "hits by chance", "points", "points by chance", "same place")
    keys = (*keys, "same place by chance")
    found = [[row[key] for row in rows if key in row] for key in keys]
    return [f"{100 * np.mean(x):.0f} %" if x else "" for x in found]


if __name__ == "__main__":
    main()
