"""Which sentences of a prompt bank speak for each side of what a region shows."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

from vlad.maths.parts import worst_cells
from vlad.types import NearestSentence, TextFeatures


def pulls(vectors: torch.Tensor, sentences: torch.Tensor) -> torch.Tensor:
    """(..., D) vectors and (N, D) sentences -> (..., N): what each sentence adds to the side.

    A side is the direction of the sum of its sentences, so the cosine of a vector with it is a sum
    over sentences. A pull is one of its terms, as a share of all of them: pulls of one side sum to
    1. Where some are negative, the shares are of the sum of their sizes.

    Args:
        sentences: as the head adds them, of unit length or as they are.
    """
    terms = F.normalize(vectors, dim=-1) @ sentences.T
    return terms / terms.abs().sum(dim=-1, keepdim=True).clamp_min(1e-12)


def of_worst_patches(
    vectors: torch.Tensor,
    values: torch.Tensor,
    regions: torch.Tensor,
    text: TextFeatures,
    unit: bool = True,
) -> list[tuple[NearestSentence, ...]]:
    """`sentence_reasons` of the patch of each region that is worst in any of L blocks.

    Args:
        vectors: (L·N, D) of the patches of all blocks, in order.
        values: (L, N), how anomalous they are.
        regions: (R, N) bool.
    """
    every = regions.repeat(1, len(values))
    return sentence_reasons(vectors[worst_cells(values.flatten(), every)], text, unit)


def sentence_reasons(
    vectors: torch.Tensor, text: TextFeatures, unit: bool = True
) -> list[tuple[NearestSentence, ...]]:
    """All sentences, the anomalous side and what pulls most first, for each of (R, D) vectors.

    Args:
        text: (N, D) and (A, D) sentences, or (1, N, D) and (1, A, D) of one image; one of only
            zeros counts for nothing.
        unit: whether the head averages sentences at unit length.
    """
    each: list[list[NearestSentence]] = [[] for _ in vectors]
    sides: list[tuple[Literal["normal", "anomalous"], torch.Tensor]]
    sides = [("anomalous", text.anomalous), ("normal", text.normal)]
    for side, every in sides:
        rows = every[0] if every.dim() == 3 else every
        lengths = F.normalize(rows, dim=-1)
        cosines = F.normalize(vectors, dim=-1) @ lengths.T
        weights, places = pulls(vectors, lengths if unit else rows).sort(dim=1, descending=True)
        for found, cosine, weight, place in zip(each, cosines, weights, places, strict=True):
            found += [
                NearestSentence(side, i, cosine[i].item(), w)
                for i, w in zip(place.tolist(), weight.tolist(), strict=True)
                if w
            ]
    return [tuple(found) for found in each]
