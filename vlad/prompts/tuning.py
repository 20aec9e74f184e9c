"""Which states of prompt banks tell labelled images apart: greedy selection, and a held-out check.

Images are ranked as the head `winclip` ranks them without normal images: by the cosine with the
mean of the anomalous sentences less that with the mean of the normal ones, embeddings not
normalised before the mean. All of it follows from products computed once: those of images with
states, and those of states with each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

REPEATS = 20  # random halves, each used in both directions
# with fewer, the AUROC of a half has a standard error above 10 points at 80 %
LEAST = 20  # images of each label
ERRORS = 2  # standard errors that a proven gain exceeds


@dataclass(frozen=True, eq=False)
class Side:
    """The states of one side.

    Attributes:
        images: (S, I) products of the states' vectors with the unit embeddings of images, float64.
        states: (S, S) products of the states' vectors with each other; a state's vector is the sum
            of the embeddings of its sentences, of which all states have equally many.
    """

    images: np.ndarray
    states: np.ndarray

    def of(self, images: np.ndarray) -> Side:
        """The same states and some of the images."""
        return Side(self.images[:, images], self.states)

    def cosines(self, chosen: Sequence[int]) -> np.ndarray:
        """(I,) cosines of the images with the mean of all sentences of the chosen states."""
        chosen = list(chosen)
        length = np.sqrt(self.states[np.ix_(chosen, chosen)].sum())
        return self.images[chosen].sum(axis=0) / max(length, 1e-12)

    def with_one_more(self, chosen: Sequence[int]) -> np.ndarray:
        """(S, I) cosines with the chosen states and each of the states."""
        chosen = list(chosen)
        own = self.states[np.ix_(chosen, chosen)].sum()
        squared = own + 2 * self.states[chosen].sum(axis=0) + np.diag(self.states)
        length = np.sqrt(np.maximum(squared, 1e-24))
        return (self.images[chosen].sum(axis=0) + self.images) / length[:, None]


@dataclass(frozen=True)
class Chosen:
    """The numbers of the chosen states of each side, in the order in which they were added."""

    normal: tuple[int, ...]
    anomalous: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class States:
    """All candidates of both sides, and the labels (I,) of the images: 0 normal, 1 anomalous."""

    normal: Side
    anomalous: Side
    labels: np.ndarray

    def of(self, images: np.ndarray) -> States:
        """The same states and some of the images."""
        return States(self.normal.of(images), self.anomalous.of(images), self.labels[images])

    def margins(self, chosen: Chosen) -> np.ndarray:
        """(I,) how much nearer images are to the anomalous side; `winclip` ranks by it."""
        return self.anomalous.cosines(chosen.anomalous) - self.normal.cosines(chosen.normal)

    def auroc(self, chosen: Chosen) -> float:
        """Image AUROC of the chosen states."""
        return float(quality(self.margins(chosen)[None], self.labels)[0, 0])


def quality(margins: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(K, I) margins -> (K, 2): AUROC, and the distance of both means in standard deviations."""
    bad = labels > 0
    many, few = bad.sum(), (~bad).sum()
    ranks = rankdata(margins, axis=1)[:, bad].sum(axis=1)
    auroc = (ranks - many * (many + 1) / 2) / (many * few)
    apart = margins[:, bad].mean(axis=1) - margins[:, ~bad].mean(axis=1)
    spread = margins[:, bad].var(axis=1) + margins[:, ~bad].var(axis=1)
    return np.stack([auroc, apart / np.sqrt(spread + 1e-24)], axis=1)


def choose(states: States) -> Chosen:
    """The best pair of states, then the best of all others, as long as the AUROC rises.

    Among equal AUROC the larger distance of the means decides, then the order of the states.
    """
    normal, anomalous, labels = states.normal, states.anomalous, states.labels
    alone_normal, alone_anomalous = (
        side.images / np.sqrt(np.maximum(np.diag(side.states), 1e-24))[:, None]
        for side in (normal, anomalous)
    )
    pairs = [quality(alone_anomalous - row, labels) for row in alone_normal]
    place, found = _best(np.concatenate(pairs))
    first, second = divmod(place, len(alone_anomalous))
    chosen = Chosen((first,), (second,))
    while True:
        more_normal = normal.with_one_more(chosen.normal)
        more_anomalous = anomalous.with_one_more(chosen.anomalous)
        tried = np.concatenate(
            [
                anomalous.cosines(chosen.anomalous) - more_normal,
                more_anomalous - normal.cosines(chosen.normal),
            ]
        )
        values = quality(tried, labels)
        taken = [*chosen.normal, *(len(more_normal) + i for i in chosen.anomalous)]
        values[taken] = -np.inf
        place, after = _best(values)
        if not after > found:
            return chosen
        found = after
        if place < len(more_normal):
            chosen = Chosen((*chosen.normal, place), chosen.anomalous)
        else:
            chosen = Chosen(chosen.normal, (*chosen.anomalous, place - len(more_normal)))


def _best(values: np.ndarray) -> tuple[int, float]:
    """The place of the highest AUROC in `quality`, and that AUROC."""
    place = int(np.lexsort((-np.arange(len(values)), values[:, 1], values[:, 0]))[-1])
    return place, float(values[place, 0])


@dataclass(frozen=True)
class Checked:
    """What choosing states gains on images that did not choose them.

    Attributes:
        tuned: image AUROC of the states chosen on the other half, mean over all halves.
        original: that of the original states on the same halves.
        noise: standard error of their difference. Halves share images, so it is the corrected one
            of Nadeau and Bengio (Machine Learning 2003): variance times (1 / halves + 1).
        halves: how many were used.
        normal, anomalous: number of a state -> how many halves chose it.
    """

    tuned: float
    original: float
    noise: float
    halves: int
    normal: Counter[int]
    anomalous: Counter[int]

    @property
    def gain(self) -> float:
        """Of the image AUROC."""
        return self.tuned - self.original

    @property
    def proven(self) -> bool:
        """Whether the gain exceeds its noise."""
        return self.gain > ERRORS * self.noise


def check(states: States, original: Chosen, seed: int = 0) -> Checked:
    """Choose states on random halves of the images, and measure them on the other halves.

    Args:
        original: the states to compare with.
        seed: of the halves.
    """
    tuned, before = [], []
    normal: Counter[int] = Counter()
    anomalous: Counter[int] = Counter()
    for half, other in halves(states.labels, seed):
        chosen, held = choose(states.of(half)), states.of(other)
        normal.update(chosen.normal)
        anomalous.update(chosen.anomalous)
        tuned.append(held.auroc(chosen))
        before.append(held.auroc(original))
    gains = np.subtract(tuned, before)
    noise = float(np.sqrt((1 / len(gains) + 1) * gains.var(ddof=1)))
    means = float(np.mean(tuned)), float(np.mean(before))
    return Checked(*means, noise, len(gains), normal, anomalous)


def halves(labels: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places of the images of a half and of the other one, both with half of each label."""
    random = np.random.default_rng(seed)
    for _ in range(REPEATS):
        first, second = [], []
        for label in (0, 1):
            places = random.permutation(np.flatnonzero(labels == label))
            first.append(places[: len(places) // 2])
            second.append(places[len(places) // 2 :])
        one, other = np.sort(np.concatenate(first)), np.sort(np.concatenate(second))
        yield one, other
        yield other, one
