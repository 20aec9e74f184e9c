"""Counts of visual words: images with too many, too few or other parts.

vlad's own; a bag of visual words (Sivic and Zisserman, ICCV 2003) with a shrunk Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.errors import HeadError
from vlad.heads.head import Layered
from vlad.heads.moments import check, moments_of, stored
from vlad.heads.rules import LAYERS, optional, whole
from vlad.heads.shifts import blocks_of, largest_shifts
from vlad.maths.kmeans import kmeans, squared_distances
from vlad.maths.maps import upsample
from vlad.maths.moments import Moments
from vlad.types import Features, Layer, Parts, Reason, Scores, TextFeatures

LIMIT = 1 << 16  # patches that words are learned from, of the first images
SIGMA = 4.0  # of the Gaussian that smooths the map, in pixels
END = 10.0  # of the scale of maps, in roots of the number of words
ALIKE = 1e-6  # least squared distance of unit vectors that is not only rounding


class VisualWords(Layered):
    """Mahalanobis distance of the counts of visual words from those of normal images.

    Words are the k-means of the patch tokens of normal images, of unit length. A patch counts for
    each word by the softmax of −d²/s over words, with d² its squared distance to the word and s the
    mean of d² of normal patches to their nearest word. An image is described by log(1 + count) of
    each word; over normal images these have a mean μ and a covariance Σ, shrunk after Ledoit and
    Wolf. The image score is the distance, averaged over layers.

    The map shows what each place adds: the squares of Σ^(−1/2) (x − μ), one of each word, sum up to
    the squared distance. That of a word lies where there is more or less of it than normal images
    have there. It is divided by the distance, so that without smoothing its mean is the image
    score.

    Args:
        words: number of words of each layer.
        layers: blocks whose patch tokens are counted: block numbers, fractions of the depth, or
            lists of them whose tokens are averaged first; None takes those that the backbone names
            for comparing patches, else one, two and three quarters of the depth.
        seed: of the first means of k-means.
    """

    normals = "needed"
    least_normals = 2
    rules: ClassVar = {
        "words": whole(2, 1024),
        "layers": optional(LAYERS),
        "seed": whole(0, 2**32 - 1),
    }

    def __init__(self, words: int = 16, layers: Parts | None = None, seed: int = 0):
        self.words = words
        self.layers = layers
        self.seed = seed
        self.usual_: tuple[object, dict[str, tuple[torch.Tensor, torch.Tensor]]] = (None, {})

    @property
    def map_range(self) -> tuple[float, float]:
        """From 0 to 10 roots of the number of words, where normal images have about one."""
        return (0.0, END * math.sqrt(self.words))

    def gather(self) -> _Gather:
        """A collector of normal images."""
        return _Gather(self)

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, in standard deviations.

        Raises:
            HeadError: the head is not fitted, or on images of another grid of patches.
        """
        distance, cells = self._compare(features)
        grid_map = cells.unflatten(1, features.grid)
        return Scores(distance, upsample(grid_map, features.size, sigma=SIGMA))

    def contributions(self, features: Features, text: TextFeatures | None) -> torch.Tensor:
        """(h·w,) what each place adds to the distance."""
        _, cells = self._compare(features)
        return cells[0] / cells.shape[1]

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The words of which a region has most standard deviations too many or too few.

        That is a region's part of the deviation of the image's count, so that those of regions that
        make up an image add up, and their squares over words to the square of a layer's distance.
        """
        names, sigmas = [], []
        for layer, parts, where in self._words(features):
            inside = regions.to(where) @ _shares_of(where)[0]  # (R, K)
            sigmas.append(parts.float() * inside)
            block = blocks_of(_layer(features, layer))
            names += [f"word {n} of {block}" for n in range(1, parts.shape[1] + 1)]
        return [*largest_shifts(names, torch.cat(sigmas, dim=1), part=True)]

    def _compare(self, features: Features) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) distances and (B, h·w) parts whose mean over patches these are."""
        distances, maps = [], []
        for _, parts, where in self._words(features):
            distance = parts.square().sum(dim=-1).sqrt()
            each = parts.square() / distance.clamp_min(1e-12)[:, None]
            maps.append(_placed(each.float(), where))
            distances.append(distance.float())
        return torch.stack(distances).mean(dim=0), torch.stack(maps).mean(dim=0)

    def _words(self, features: Features) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Of each layer, (B, K) deviations in standard deviations and (B, h·w, K) where they lie.

        Raises:
            HeadError: the head is not fitted, or on images of another grid of patches.
        """
        memory = self.needed_memory()
        for layer, (mean, whitening) in self._usual().items():
            owned = shares(
                features.patches[_layer(features, layer)],
                memory[f"{layer}.words"],
                memory[f"{layer}.scale"],
            )
            usual = memory[f"{layer}.places"]
            if usual.shape != owned.shape[1:]:
                raise HeadError(
                    f"Head {self.name} was fitted on images of {len(usual)} patches and gets "
                    f"{owned.shape[1]}; fit it at this image size."
                )
            parts = (counted(owned).double() - mean) @ whitening.T
            yield layer, parts, (owned - usual).abs()

    def _usual(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Layer -> mean (K,) of the counts and what whitens them (K, K), made once."""
        memory, found = self.usual_
        if memory is not self.memory_:
            moments = moments_of(self.needed_memory())
            found = {layer: (one.mean, _whitening(one)) for layer, one in moments.items()}
            self.usual_ = self.memory_, found
        return found


def shares(patches: torch.Tensor, words: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """(B, N, C) patch tokens -> (B, N, K): how much of each patch counts for each word."""
    distances = squared_distances(F.normalize(patches, dim=-1), words)
    return (-distances / scale).softmax(dim=-1)


def counted(owned: torch.Tensor) -> torch.Tensor:
    """(B, N, K) shares -> (B, K) log(1 + count)."""
    return owned.sum(dim=1).log1p()


def _placed(parts: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """(B, K) parts of the score -> (B, N) map whose mean over N is their sum.

    Args:
        where: (B, N, K) how much of each part lies at each place.
    """
    return (_shares_of(where) * parts[:, None]).sum(dim=-1) * where.shape[1]


def _shares_of(where: torch.Tensor) -> torch.Tensor:
    """(B, N, K) of which each word's sum to 1 over places; even shares if it is 0 everywhere."""
    total = where.sum(dim=1, keepdim=True)
    return torch.where(total > 0, where / total, 1 / where.shape[1])


def _whitening(moments: Moments) -> torch.Tensor:
    """(K, K): the symmetric inverse root of the shrunk covariance, which keeps words apart."""
    values, vectors = torch.linalg.eigh(moments.ledoit_wolf())
    return (vectors / values.sqrt()) @ vectors.T


def _layer(features: Features, name: str) -> Layer:
    return next(layer for layer in features.patches if str(layer) == name)


class _Gather:
    """Keeps the first images until there are patches enough for words; then counts and forgets."""

    def __init__(self, head: VisualWords):
        self.head, self.seen, self.images = head, 0, 0
        self.kept: list[dict[str, torch.Tensor]] = []
        self.learned: dict[str, torch.Tensor] = {}
        self.moments: dict[str, Moments] = {}
        self.usual: dict[str, torch.Tensor] = {}

    def add(self, features: Features) -> None:
        batch = {str(layer): x for layer, x in features.patches.items()}
        first = next(iter(batch.values()))
        if self.learned:
            self._count(batch)
            return
        self.kept.append(batch)
        self.seen += first.shape[0] * first.shape[1]
        if self.seen >= LIMIT:
            self._learn()

    def finish(self) -> None:
        if not self.learned:
            self._learn()
        check(self.head, self.moments)
        places = {f"{layer}.places": x / self.images for layer, x in self.usual.items()}
        self.head.memory_ = self.learned | places | stored(self.moments)

    def _learn(self) -> None:
        head = self.head
        for layer in self.kept[0]:
            rows = torch.cat([F.normalize(b[layer], dim=-1).flatten(0, 1) for b in self.kept])
            if not rows.isfinite().all():
                raise HeadError(
                    f"Head {head.name}: a normal image gives features that are no numbers; leave "
                    "it out, or choose another `backbone` or `dtype`."
                )
            words = kmeans(rows, head.words, head.seed)
            nearest = [squared_distances(x, words).amin(dim=1) for x in rows.split(1 << 14)]
            self.learned[f"{layer}.words"] = words
            self.learned[f"{layer}.scale"] = torch.cat(nearest).mean().clamp_min(ALIKE)
        for batch in self.kept:
            self._count(batch)
        self.kept.clear()

    def _count(self, batch: dict[str, torch.Tensor]) -> None:
        for layer, x in batch.items():
            owned = shares(x, self.learned[f"{layer}.words"], self.learned[f"{layer}.scale"])
            new, before = Moments.of(counted(owned)), self.moments.get(layer)
            self.moments[layer] = before.merge(new) if before else new
            self.usual[layer] = self.usual.get(layer, 0) + owned.sum(dim=0)
        self.images += len(x)
