"""Thresholds without labels: their guarantees and their results (docs/thresholds.md).

    python benchmarks/thresholds.py CATEGORY_FOLDER ... [--seeds 5] [--backbone vlad-tiny]

Each folder is one labelled category in any layout of `vlad eval`. Its normal images, including
those of its training split, and 30 anomalous ones are scored once: winclip zero-shot, memory fit on
4 of the normal images (which are then left out), musc jointly on the anomalous and 100 of the
normal ones. Everything else is drawn from these scores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.stats import gamma
from sklearn.metrics import f1_score

from vlad.backbones import load_backbone
from vlad.backbones.backbone import Backbone
from vlad.calibration import FUSED, from_normals, from_unlabelled
from vlad.calibration.conformal import allowed_above, conformal_threshold, least_reference
from vlad.datasets import load_dataset
from vlad.datasets.shots import draw_shots
from vlad.heads import load_head
from vlad.images import read_image
from vlad.metrics import auroc, f1_max
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Pools, score_samples
from vlad.types import Sample

HEADS = ("winclip", "memory", "musc")
ALONE = ("winclip", "memory")  # heads that judge images one by one
K_SHOT, ANOMALOUS, JOINT = 4, 30, 100
MIXED = 100  # images in an unlabelled draw
SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
RATES = (0.01, 0.05, 0.1)
COUNTS = (20, 50, 100, 200)
LEVELS = (None, 0.6, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Category:
    """Image scores of one category.

    Attributes:
        normal: head -> (n,); for musc only the first `JOINT`.
        anomalous: head -> (m,).
        train: (n,) whether a normal image is in the training split.
    """

    name: str
    normal: Mapping[str, np.ndarray]
    anomalous: Mapping[str, np.ndarray]
    train: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", metavar="CATEGORY_FOLDER")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--backbone", default="vlad-tiny")
    options = parser.parse_args()

    backbone = load_backbone(options.backbone, "cpu")
    categories = [scored(folder, backbone) for folder in options.folders]
    for part in (quality, shares, by_heads, false_alarms, from_train_to_test, abstention):
        title, head, rows = part(categories, options.seeds)
        print(f"**{title}**\n")
        print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
        for row in rows:
            print(f"| {' | '.join(row)} |")
        print()


def scored(folder: str, backbone: Backbone) -> Category:
    """Scores of the images of a category, in a shuffled order."""
    data = load_dataset("auto", folder)
    (name,) = data.categories
    random = np.random.default_rng(0)
    shown = draw_shots(data.train(name), K_SHOT, 0)
    train = [s for s in data.train(name) if s not in shown]
    words = name.replace("_", " ")
    test = [replace(s, category=words) for s in data.test(name)]
    normal = [replace(s, category=words) for s in train] + [s for s in test if not s.label]
    anomalous = [s for s in test if s.label]
    order = random.permutation(len(normal))
    normal = [normal[i] for i in order]
    anomalous = [anomalous[i] for i in random.permutation(len(anomalous))[:ANOMALOUS]]

    panel = Panel(backbone, {head: load_head(head) for head in HEADS})
    panel.fit((read_image(s.path) for s in shown), ["memory"])
    found: dict[Sample, dict[str, float]] = {s: {} for s in anomalous + normal}
    run = partial(score_samples, batch_size=8, open_image=read_image)
    pools: Pools[Sample] = Pools()
    parts = (
        run(panel, anomalous + normal[:JOINT], pools=pools),
        pools.scores(),
        run(panel.only(ALONE), normal[JOINT:]),
    )
    for part in parts:
        for batch in part:
            for s in batch:
                if s.error:
                    raise SystemExit(s.error)
                found[s.sample].update(s.scores)

    def table(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
        return {h: np.array([found[s][h] for s in samples if h in found[s]]) for h in HEADS}

    return Category(name, table(normal), table(anomalous), order < len(train))


def quality(categories, seeds):
    """How well the heads separate the images; needed to read the other tables."""
    rows = []
    for c in categories:
        values = []
        for h in HEADS:
            labels = np.repeat([0, 1], [len(c.normal[h]), ANOMALOUS])
            values.append(100 * auroc(np.concatenate([c.normal[h], c.anomalous[h]]), labels))
        rows.append([c.name, str(len(c.train)), *(f"{v:.1f}" for v in values)])
    return "Image AUROC of the scores, in %", ["category", "normal images", *HEADS], rows


def shares(categories, seeds):
    """The estimated share and the F1 of fused verdicts, for each category."""
    rows = []
    for share in SHARES:
        row = [f"{share:.2f}"]
        for c in categories:
            trials = [judged(c, HEADS, share, seed) for seed in range(seeds)]
            mean, low, high, held, f1, best = np.mean(trials, axis=0)
            cell = f"{mean:.2f} ({low:.2f} to {high:.2f}), {held * seeds:.0f}/{seeds}"
            row.append(cell + (f"; F1 {f1:.2f} / {best:.2f}" if share else ""))
        rows.append(row)
    title = (
        f"Estimated share of anomalous images among {MIXED} (90 % interval), in how many of "
        f"{seeds} draws the interval held the true one; F1 of the fused verdicts / best possible F1"
    )
    return title, ["true share", *(c.name for c in categories)], rows


def by_heads(categories, seeds):
    """The same, means over categories and true shares, for heads alone and together."""
    rows = []
    for heads in (("winclip",), ("memory",), ("musc",), ("winclip", "musc"), HEADS):
        trials = np.array(
            [
                (*judged(c, heads, share, seed), share)
                for c in categories
                for share in SHARES
                for seed in range(seeds)
            ]
        )
        mean, _, _, held, f1, best, share = trials.T
        some = share > 0
        values = (np.abs(mean - share).mean(), held.mean(), f1[some].mean(), best[some].mean())
        rows.append([" + ".join(heads), *(f"{v:.2f}" for v in values)])
    head = ["heads", "mean error of the share", "90 % interval holds it", "F1", "best F1"]
    return "Means over all categories and shares (F1: over those above 0)", head, rows


def judged(c: Category, heads: Sequence[str], share: float, seed: int) -> tuple[float, ...]:
    """Mean, 90 % interval, whether it holds the share, F1 and best F1 of one unlabelled draw."""
    random = np.random.default_rng(seed)
    count = round(MIXED * share)
    normal = random.permutation(JOINT)[: MIXED - count]
    anomalous = random.permutation(ANOMALOUS)[:count]
    scores = {h: np.concatenate([c.normal[h][normal], c.anomalous[h][anomalous]]) for h in heads}
    labels = np.arange(MIXED) >= MIXED - count
    several = len(heads) > 1
    found = from_unlabelled(scores, method="fisher" if several else None, seed=seed)
    verdicts = found.decide(scores, own=True)[FUSED if several else heads[0]]
    mean, low, high = (found.share[key] for key in ("mean", "low", "high"))
    f1 = f1_score(labels, verdicts.anomalous, zero_division=0)
    best = f1_max(verdicts.image_score, labels)[0] if count else 0.0
    return mean, low, high, low <= share <= high, f1, best


def false_alarms(categories, seeds):
    """The rate of the conformal threshold on normal images that it was not found from."""
    rows, random = [], np.random.default_rng(0)
    for rate, count in reachable():
        drawn = np.sort(random.gamma(4, size=(20_000, count)), axis=1)[:, ::-1]
        true = gamma.sf(drawn[:, allowed_above(count, rate)], 4)
        real = {}
        for c in categories:
            if len(c.train) >= count + 20:
                for h in ALONE:
                    splits = (random.permutation(c.normal[h]) for _ in range(40 * seeds))
                    real[c.name, h] = np.mean(
                        [(s[count:] > conformal_threshold(s[:count], rate)).mean() for s in splits]
                    )
        rows.append([f"{rate:g}", str(count), f"{true.mean():.3f}", spread(true)])
        rows[-1] += [f"{np.mean(list(real.values())):.3f}", f"{max(real.values()):.3f}"]
    head = ["rate", "held-out images", "simulated", "10 to 90 % of draws"]
    head += ["real: mean", "largest of a head and category"]
    return "False alarms on held-out normal images (winclip and memory)", head, rows


def from_train_to_test(categories, seeds):
    """The same, where the reference is of the training part and the alarms of the test part."""
    rows = []
    for rate in RATES[1:]:
        for h in ALONE:
            row = [f"{rate:g}", h]
            for c in categories:
                reference = c.normal[h][c.train]
                test = c.normal[h][~c.train]
                alarms = (test > conformal_threshold(reference, rate)).sum()
                row.append(f"{alarms} of {len(test)} ({alarms / len(test):.2f})")
            rows.append(row)
    title = "False alarms on the normal test images, threshold from all training images"
    return title, ["rate", "head", *(c.name for c in categories)], rows


def abstention(categories, seeds):
    """Abstentions, errors among the rest, and how often other references reverse them."""
    size, rate = 50, 0.05
    rows = []
    for head in ALONE:
        for level in LEVELS:
            trials = []
            for c in categories:
                for seed in range(4 * seeds):
                    normal = np.random.default_rng(seed).permutation(c.normal[head])
                    first, second, rest = normal[:size], normal[size : 2 * size], normal[2 * size :]
                    pair = [
                        from_normals({head: r}, false_alarms=rate, confidence=level).decide(
                            {head: np.concatenate([rest, c.anomalous[head]])}
                        )[head]
                        for r in (first, second)
                    ]
                    sure, called = ~pair[0].abstain, pair[0].anomalous
                    turned = called != pair[1].anomalous
                    labels = np.arange(len(sure)) >= len(rest)
                    trials.append(
                        [
                            (~sure[~labels]).mean(),
                            (~sure[labels]).mean(),
                            share_of(called[sure & ~labels]),
                            share_of(~called[sure & labels]),
                            share_of(turned[sure]),
                            share_of(turned[~sure]),
                        ]
                    )
            means = [
                np.mean(column[~np.isnan(column)]) if not np.isnan(column).all() else None
                for column in np.array(trials).T
            ]
            cells = ["–" if m is None else f"{m:.3f}" for m in means]
            rows.append([head, "none" if level is None else f"{level:g}", *cells])
    columns = ["head", "`--confidence`", "withheld: normal", "anomalous"]
    columns += ["decided: false alarms", "missed", "reversed by other held-out images"]
    columns += ["withheld: reversed"]
    title = f"Abstaining, {size} held-out images, rate {rate:g}; means over categories"
    return title, columns, rows


def reachable() -> Iterable[tuple[float, int]]:
    """Rates, and sufficient numbers of references for them."""
    return [(rate, n) for rate in RATES for n in COUNTS if n >= least_reference(rate)]


def spread(values: np.ndarray) -> str:
    low, high = np.quantile(values, [0.1, 0.9])
    return f"{low:.3f} to {high:.3f}"


def share_of(values: np.ndarray) -> float:
    """The mean; NaN of none."""
    return float(values.mean()) if len(values) else float("nan")


if __name__ == "__main__":
    main()
