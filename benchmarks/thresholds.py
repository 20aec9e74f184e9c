"""Thresholds that nobody had labels for: what they promise against what they do, on your pictures.

    python benchmarks/thresholds.py CATEGORY_FOLDER ... [--seeds 5] [--backbone vlad-tiny]

Each folder is one labelled category (any layout of `vlad eval`). Its normal pictures, those for
training as well, and at most 40 anomalous ones are scored once: winclip from words, memory shown 4
of the normal pictures (which are then left out), musc on at most 160 of the pictures, jointly.
What is printed, as Markdown, is drawn from these scores again and again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlad.backbones import load_tower
from vlad.datasets import load_dataset
from vlad.heads import load_head
from vlad.panel import Panel
from vlad.images import read_image
from vlad.scoring import Pools, draw_shots, score_samples

K_SHOT, ANOMALOUS, JOINT = 4, 30, 100
HEADS = ("winclip", "memory", "musc")


@dataclass(frozen=True)
class Scored:
    """Scores of one category: normal pictures (n, 2), anomalous ones, and the joint part of both.

    Attributes:
        normal: head -> (n,) image scores.
        anomalous: head -> (m,).
    """

    name: str
    normal: Mapping[str, np.ndarray]
    anomalous: Mapping[str, np.ndarray]


def score(folder: str, tower, seed: int = 0) -> Scored:
    data = load_dataset("auto", folder)
    (category,) = data.categories
    random = np.random.default_rng(seed)
    shown = draw_shots(data.train(category), K_SHOT, seed)
    normal = [s for s in data.train(category) if s not in shown]
    normal += [s for s in data.test(category) if not s.label]
    anomalous = [s for s in data.test(category) if s.label]
    normal = [normal[i] for i in random.permutation(len(normal))]
    anomalous = [anomalous[i] for i in random.permutation(len(anomalous))[:ANOMALOUS]]
    panel = Panel(tower, {name: load_head(name) for name in HEADS})
    panel.fit((read_image(s.path) for s in shown), ["memory"])
    words = category.replace("_", " ")
    found = {}
    pools = Pools()
    joint = anomalous + normal[:JOINT]
    for batch in score_samples(panel, joint, words, batch_size=8, pools=pools):
        for s in batch:
            found[s.sample.path] = dict(s.scores)
    for batch in pools.scores():
        for s in batch:
            found[s.sample.path].update(s.scores)
    alone = panel.only(("winclip", "memory"))
    for batch in score_samples(alone, normal[JOINT:], words, batch_size=8):
        for s in batch:
            found[s.sample.path] = dict(s.scores)

    def table(samples):
        return {
            head: np.array([found[s.path][head] for s in samples if head in found[s.path]])
            for head in HEADS
        }

    return Scored(category, table(normal), table(anomalous))
