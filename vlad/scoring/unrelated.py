"""Whether images differ in what a question asks more than in unrelated words.

Any direction in the space of text spreads any images a little, so an order always exists. The
spread along the question's direction is therefore compared with that of the same question about
each of 99 everyday nouns, and the order with theirs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F

from vlad.backbones.backbone import Backbone
from vlad.prompts import Prompts
from vlad.prompts.question import Asked
from vlad.scoring.textcache import embed_prompts
from vlad.system.resources import data_folder

WORDS = "words.txt"  # beside the banks
COUNT = 99  # so that one word is one percent
NEEDED = 95  # of them must be exceeded
ALIKE = 0.9  # correlation from which on two orders are called alike
TEMPLATE = "a photo of a {}."


@dataclass(frozen=True)
class Spread:
    """How far apart images are in what a question asks.

    Attributes:
        exceeded: unrelated words along which the images are less far apart.
        words: number of unrelated words.
        correlation: of the images' cosines along the question with those along an unrelated word,
            its size, median over the words.
    """

    exceeded: int
    words: int
    correlation: float

    @property
    def alike(self) -> bool:
        """Whether unrelated words order the images as the question does, or the other way round."""
        return self.correlation >= ALIKE

    @property
    def differs(self) -> bool:
        """Whether the images differ in this more than in nearly all unrelated words."""
        return self.exceeded * COUNT >= NEEDED * self.words and not self.alike


def spread_of(backbone: Backbone, asked: Asked, embeddings: np.ndarray) -> Spread:
    """Compare the spread of images, largest minus smallest cosine, with that of unrelated words.

    Args:
        embeddings: (N, D) unit vectors of images, as `Seen` has them, N at least 2.

    Raises:
        HeadError: the backbone reads no text.
    """
    words = unrelated(asked)
    about = [asked, *(asked.about(word) for word in words)]
    sides = [(one.said(one.found), one.said(one.otherwise)) for one in about]
    sentences = {text: TEMPLATE.replace("{}", text) for side in sides for x in side for text in x}
    prompts = Prompts(tuple(sentences.values()), ())
    rows = F.normalize(embed_prompts(backbone, prompts).normal, dim=-1).numpy()
    place = {text: i for i, text in enumerate(sentences)}

    def mean(texts: list[str]) -> np.ndarray:
        return rows[[place[text] for text in texts]].mean(axis=0)

    axes = np.stack([mean(found) - mean(otherwise) for found, otherwise in sides])
    axes /= np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-12)
    cosines = embeddings @ axes.T
    spread = np.ptp(cosines, axis=0)
    away = cosines - cosines.mean(axis=0)
    away /= np.maximum(np.linalg.norm(away, axis=0), 1e-12)
    correlation = float(np.median(np.abs(away[:, 0] @ away[:, 1:])))
    return Spread(int((spread[1:] < spread[0]).sum()), len(words), correlation)


def unrelated(asked: Asked) -> list[str]:
    """Nouns spread over the list, of which none is in the question."""
    listed = (data_folder("prompts") / WORDS).read_text(encoding="utf-8").split("\n")
    own = set(re.findall(r"\w+", f"{asked.question} {asked.thing}".casefold()))
    words = [word for word in listed if word and own.isdisjoint(word.split())]
    return [words[round(i)] for i in np.linspace(0, len(words) - 1, COUNT)]
