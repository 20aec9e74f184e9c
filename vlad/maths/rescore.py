"""Re-scoring with constrained image-level neighbourhood: RsCIN of MuSc (section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def rescore(scores: torch.Tensor, images: torch.Tensor, neighbours: Sequence[int]) -> torch.Tensor:
    """(N,) scores, scaled to [0, 1] over all images and averaged with those of similar images.

    Args:
        scores: (N,).
        images: (N, D) image embeddings of any length.
        neighbours: sizes k of the neighbourhoods, including the image itself; results are averaged.
    """
    unit = F.normalize(images, dim=-1)
    return _weighted(unit @ unit.T, scale(scores), neighbours)


def rescore_against(
    scores: torch.Tensor,
    images: torch.Tensor,
    pool_scores: torch.Tensor,
    pool_images: torch.Tensor,
    neighbours: Sequence[int],
) -> torch.Tensor:
    """The same for (B,) new images, each compared only with the images of a pool, without scaling.

    A mean of scores scaled by the range of a pool is the scaled mean and keeps the order; if the
    images of the pool hardly differ, the range is too small to divide by.
    """
    unit, pool = F.normalize(images, dim=-1), F.normalize(pool_images, dim=-1)
    own = (unit * unit).sum(dim=-1, keepdim=True)
    weights = torch.cat([own, unit @ pool.T], dim=1)
    values = torch.cat([scores[:, None], pool_scores.expand(len(scores), -1)], dim=1)
    return _weighted(weights, values, neighbours)


def scale(scores: torch.Tensor) -> torch.Tensor:
    """Scores scaled to range from 0 to 1; all 0 if they are equal.

    A score that is not finite does not set the scale of the others.
    """
    finite = scores[scores.isfinite()]
    if not len(finite):
        return scores
    low, span = finite.min(), finite.max() - finite.min()
    return (scores - low) / span if span > 0 else 0 * scores


def _weighted(
    weights: torch.Tensor, values: torch.Tensor, neighbours: Sequence[int]
) -> torch.Tensor:
    """Means of `values` (N,) or (B, N) over the k largest of (B, N) weights, averaged over k."""
    found = []
    for k in neighbours:
        top = weights.topk(min(k, weights.shape[1]), dim=1)
        near = values.expand(len(weights), -1).gather(1, top.indices)
        found.append((top.values * near).sum(dim=1) / top.values.sum(dim=1))
    return torch.stack(found).mean(dim=0)
