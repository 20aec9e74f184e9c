"""One vector that stands for many sentences: Representative Vector Selection of CLIP-AD."""

from __future__ import annotations

import functools
import warnings

import torch
import torch.nn.functional as F

from vlad.types import TextFeatures


# clusters take as long as the pass of a small backbone, and a category has one text
@functools.lru_cache(maxsize=16)
def dense_sides(text: TextFeatures, eps: float, min_samples: int) -> torch.Tensor:
    """(2, D) unit vectors of the normal and anomalous sides, each the mean of its largest cluster.

    Clusters are those of DBSCAN on the sentences' unit vectors. The mean is rounded to half
    precision, as in CLIP-AD's code. A side without a cluster is represented by the mean of all its
    sentences, with a warning; CLIP-AD's code fails there.

    Args:
        text: (N, D) and (A, D) embeddings.
        eps: largest distance between neighbours.
        min_samples: neighbours, itself included, that make a sentence the core of a cluster.
    """
    return torch.stack(
        [
            F.normalize(F.normalize(rows[kept], dim=-1).mean(dim=0).half(), dim=0)
            for rows, kept in _kept(text, eps, min_samples)
        ]
    ).float()


def dense_text(text: TextFeatures, eps: float, min_samples: int) -> TextFeatures:
    """The text of `dense_sides` with zeros in place of the sentences that it leaves out."""
    normal, anomalous = (rows * kept[:, None] for rows, kept in _kept(text, eps, min_samples))
    return TextFeatures(normal, anomalous)


def _kept(
    text: TextFeatures, eps: float, min_samples: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(N, D) embeddings of each side and (N,) bool, those in its largest cluster."""
    from sklearn.cluster import DBSCAN

    found = []
    for side, rows in (("normal", text.normal), ("anomalous", text.anomalous)):
        unit = F.normalize(rows, dim=-1).cpu().numpy()
        labels = DBSCAN(eps=eps, min_samples=min_samples).fit_predict(unit)
        clusters = torch.from_numpy(labels[labels >= 0]).to(rows.device)
        if len(clusters):
            largest = clusters.bincount().argmax().item()
            kept = torch.from_numpy(labels == largest).to(rows.device)
        else:
            kept = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
            warnings.warn(
                f"The {len(rows)} {side} sentences have no cluster of {min_samples} within {eps:g} "
                "of each other; the mean of all of them is used. Raise eps, or set text=mean.",
                stacklevel=2,
            )
        found.append((rows, kept))
    return found
