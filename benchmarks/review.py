"""Recall at 5 % false alarms after people reviewed images, by the order in which they did.

    python benchmarks/review.py --data DIR... [--darker 0.8] [--seeds 0 1 2 3 4] --out FILE.json
    python benchmarks/review.py --plot FILE.svg --out FILE.json

A detector starts with a few normal images. Some of the others are a pool to review, and the rest a
test that nobody labels. For each order and number of reviewed images, the head learns three of four
of them, as `vlad review apply` does, and recall is measured on the test, at the score that at most
5 % of its good images exceed. `--darker` multiplies pool and test by a factor, but not the normal
images that the detector starts with. Heads are computed from distances between pairs of images,
which are found once a draw. `--plot` draws what is in --out, and needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import vlad
from vlad.calibration.conformal import conformal_threshold
from vlad.calibration.informative import informative_order
from vlad.datasets import load_dataset
from vlad.images import read_image
from vlad.types import Sample

ORDERS = ("informative", "worst first", "random")
REVIEWED = (0, 10, 20, 50)
HEADS = ("memory", "labelled")
Scored = tuple[torch.Tensor, np.ndarray]
RATE, TOP = 0.05, 0.01
APART, POOL, POOL_DEFECTS, TESTED = 20, 45, 35, 50  # images at most; the first set the threshold


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", type=Path, default=[], help="labelled sets")
    parser.add_argument("--backbone", default="vlad-tiny")
    parser.add_argument("--k-shot", type=int, default=4)
    parser.add_argument("--darker", type=float, default=1.0, help="factor of brightness")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    detector = vlad.load("memory", backbone=args.backbone, device="cpu")
    found = json.loads(args.out.read_text()) if args.out.exists() else {}
    for root in args.data:
        data = load_dataset("auto", root)
        for name in data.categories:
            samples = [*data.train(name), *data.test(name)]
            own = seen(detector, samples, 1.0)
            later = own if args.darker == 1 else seen(detector, samples, args.darker)
            key = f"{name}, {args.darker:g} × as bright" if args.darker != 1 else name
            found[key] = []
            for seed in args.seeds:
                found[key].append(one_draw(samples, own, later, args.k_shot, seed))
                args.out.write_text(json.dumps(found, indent=1))
            print(key)
            for line in lines(found[key]):
                print(line, flush=True)
    if args.plot:
        plot(found, args.plot)


def one_draw(samples: list[Sample], own: Scored, later: Scored, k_shot: int, seed: int) -> dict:
    """Head -> order -> recall after each number of reviewed images.

    Args:
        own, later: how the images look when the detector starts, and to pool and test.
    """
    random = np.random.default_rng(seed)
    good = random.permutation([i for i, s in enumerate(samples) if not s.label])
    bad = random.permutation([i for i, s in enumerate(samples) if s.label])
    start, apart, pool, tested = np.split(good, np.cumsum([k_shot, APART, POOL]))
    half = min(POOL_DEFECTS, len(bad) // 2)
    pool_bad, tested_bad = bad[:half], bad[half:][:TESTED]
    reference = [*start, *pool]
    chosen = [*apart, *pool, *pool_bad, *tested[:TESTED], *tested_bad]
    tokens, looks = later[0][:, chosen], later[1][chosen]
    place = {image: k for k, image in enumerate(chosen)}
    known = torch.cat([own[0][:, start], later[0][:, pool]], dim=1)
    near = distances(tokens, known)
    of = {image: k for k, image in enumerate(reference)}
    reviewable = [*pool, *pool_bad]
    first = scores(near[:, :, :k_shot])
    threshold = conformal_threshold(first[[place[i] for i in apart]], RATE)
    at = [place[i] for i in reviewable]
    orders = {
        "informative": informative_order(
            looks[at], first[at], threshold, len(reviewable), seed
        ).tolist(),
        "worst first": np.argsort(-first[at]).tolist(),
        "random": random.permutation(len(reviewable)).tolist(),
    }
    aside = random.random(len(reviewable)) < 0.25
    recalls: dict[str, dict[str, list[float]]] = {head: {} for head in HEADS}
    for order, places in orders.items():
        for count in REVIEWED:
            learned = [reviewable[p] for p in places[:count] if not aside[p]]
            normal = near[:, :, [*range(k_shot), *(of[i] for i in learned if i in of)]]
            defects = [(place[i], samples[i].defect or "") for i in learned if i not in of]
            for head in HEADS:
                values = scores(normal, tokens, defects if head == "labelled" else [])
                high = np.quantile(
                    values[[place[i] for i in tested[:TESTED]]], 1 - RATE, method="higher"
                )
                recall = float((values[[place[i] for i in tested_bad]] > high).mean())
                recalls[head].setdefault(order, []).append(recall)
    return recalls


def seen(detector: vlad.Detector, samples: list[Sample], factor: float) -> Scored:
    """(L, N, P, C) patch tokens of unit length, (N, C) mean patch tokens of the last block."""
    tokens, looks = [], []
    for sample in samples:
        image = read_image(sample.path)
        if factor != 1:
            image = Image.eval(image, lambda x: round(x * factor))
        layers = list(detector.features([image]).patches.values())
        tokens.append(torch.stack([F.normalize(x[0], dim=-1) for x in layers]))
        looks.append(layers[-1][0].mean(dim=0).numpy())
    return torch.stack(tokens, dim=1), np.stack(looks)


def distances(tokens: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """(L, N, R, P) distance of each patch to the nearest one of each of R images."""
    found = [
        torch.stack([1 - (x @ image.T).amax(dim=-1) for image in others], dim=1)
        for x, others in zip(tokens, known, strict=True)
    ]
    return torch.stack(found)


def scores(
    near: torch.Tensor,
    tokens: torch.Tensor | None = None,
    defects: list[tuple[int, str]] = (),  # type: ignore[assignment]
) -> np.ndarray:
    """(N,) image scores of memory, or of labelled with defects: place in tokens, and kind."""
    normal = near.amin(dim=2).mean(dim=0)  # (N, P)
    found, top = normal, max(1, int(TOP * normal.shape[1]))
    rows: dict[str, list[torch.Tensor]] = {}
    for place, kind in defects:
        rows.setdefault(kind, []).append(tokens[:, place, normal[place].topk(top).indices])
    if rows:
        kinds = [torch.cat(parts, dim=1) for parts in rows.values()]  # (L, M, C)
        each = [1 - torch.einsum("lnpc,lmc->lnpm", tokens, x).amax(dim=-1) for x in kinds]
        nearest = torch.stack([x.mean(dim=0) for x in each]).amin(dim=0)
        found = normal + (normal - nearest).clamp_min(0)
    return found.topk(top, dim=1).values.mean(dim=1).numpy()


def lines(seeds: list[dict]) -> list[str]:
    """Rows of a table: head, order, mean recall and its standard error after each number."""
    rows = []
    for head in HEADS:
        for order in ORDERS:
            values = 100 * np.array([one[head][order] for one in seeds])
            error = values.std(axis=0, ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else [0] * 4
            cells = (f"{m:.0f} ± {e:.0f}" for m, e in zip(values.mean(axis=0), error, strict=True))
            rows.append(f"| {head} | {order} | {' | '.join(cells)} |")
    return rows


def plot(found: dict[str, list[dict]], file: Path) -> None:
    """Mean recall and its standard error, a column of panels for each set."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "vlad", "font.size": 9})
    from matplotlib import pyplot

    size = (3.2 * len(found), 5)
    figure, panels = pyplot.subplots(
        2, len(found), figsize=size, sharex=True, sharey=True, squeeze=False
    )
    for column, (name, seeds) in enumerate(found.items()):
        for row, head in enumerate(HEADS):
            panel = panels[row][column]
            for order, style in zip(ORDERS, ("o-", "s--", "^:"), strict=True):
                values = 100 * np.array([one[head][order] for one in seeds])
                error = values.std(axis=0, ddof=1) / np.sqrt(len(seeds))
                mean = values.mean(axis=0)
                panel.errorbar(REVIEWED, mean, error, fmt=style, label=order, capsize=2)
            panel.set_title(f"{name}: {head}")
            panel.grid(alpha=0.3)
    panels[1][0].legend(loc="upper left")
    figure.supxlabel("images reviewed")
    figure.supylabel("recall at 5 % false alarms (%)")
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
