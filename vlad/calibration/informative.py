"""Which images to review first: near the threshold, and unlike each other.

Seeding of k-means++ (Arthur & Vassilvitskii, SODA 2007), with each image weighted by how near its
score is to the threshold.
"""

from __future__ import annotations

import numpy as np

from vlad.errors import InputError
from vlad.system.numbers import check_count
from vlad.system.text import counted

ROUNDING = 1e-6  # squared distance of unit vectors below which they are equal


def informative_order(
    embeddings: np.ndarray, scores: np.ndarray, threshold: float, count: int, seed: int = 0
) -> np.ndarray:
    """(count,) places of the images to review, most informative first.

    The first is the one nearest to the threshold. Each next one is drawn with a probability in
    proportion to exp(-|score - threshold| / m) · d², where m is the median of |score - threshold|
    and d the distance of its embedding, at unit length, to the nearest one drawn before.

    Args:
        embeddings: (N, D) of the images.
        scores: (N,) image scores.
        threshold: the score above which an image is anomalous.
        count: number of images to review; all N if there are fewer.
        seed: of the draws.

    Raises:
        InputError: a number that is not finite, different numbers of images, or a count or seed
            out of range.
    """
    check_count("count", count, 1)
    check_count("seed", seed, 0)
    scores = np.asarray(scores, float)
    if len(embeddings) != len(scores):
        raise InputError(
            f"{counted(len(embeddings), 'embedding')} for {counted(len(scores), 'score')}; give "
            "one of each image."
        )
    if not (np.isfinite(scores).all() and np.isfinite(threshold) and np.isfinite(embeddings).all()):
        raise InputError(
            "`scores`, `threshold` or `embeddings` has NaN or infinity; leave such images out."
        )
    if not len(scores):
        return np.empty(0, int)
    units = np.asarray(embeddings, np.float32)
    units = units / np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
    away = np.abs(scores - threshold)
    weights = np.exp(-away / (np.median(away) or 1.0))
    draw = np.random.default_rng(seed)
    order = [int(away.argmin())]
    square = np.full(len(scores), np.inf)
    left = np.ones(len(scores), bool)
    while len(order) < min(count, len(scores)):
        left[order[-1]] = False
        apart = 2 - 2 * units @ units[order[-1]]
        square = np.minimum(square, np.where(apart > ROUNDING, apart, 0))
        chances = np.where(left, weights * square, 0.0)
        if chances.sum() > 0:
            order.append(int(draw.choice(len(scores), p=chances / chances.sum())))
        else:  # the rest are copies of those drawn, or lie too far from the threshold
            order.append(int(np.where(left, away, np.inf).argmin()))
    return np.array(order)
