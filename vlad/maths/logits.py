"""Compare text with features: the vector of each side of a prompt bank, and their softmax."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from vlad.types import TextFeatures


@dataclass(frozen=True)
class Logits:
    """Logits of B images and their patches being anomalous.

    Attributes:
        image: (B,), or (B, I) of I image scores that are trained side by side.
        patches: (B, L, h·w), for each block used.
    """

    image: torch.Tensor
    patches: torch.Tensor


def side_vectors(text: TextFeatures) -> torch.Tensor:
    """(2, D), or (B, 2, D): unit vectors of the normal and anomalous sides.

    Each is the mean of its sentences' unit vectors, as in APRIL-GAN, AnomalyCLIP and AdaCLIP
    (WinCLIP averages the unnormalised vectors).
    """
    sides = [F.normalize(rows, dim=-1).mean(dim=-2) for rows in (text.normal, text.anomalous)]
    return F.normalize(torch.stack(sides, dim=-2), dim=-1)


def plain_mean_vectors(text: TextFeatures) -> torch.Tensor:
    """(2, D), or (B, 2, D): unit vectors along the mean of each side's unnormalised sentences."""
    sides = [rows.mean(dim=-2) for rows in (text.normal, text.anomalous)]
    return F.normalize(torch.stack(sides, dim=-2), dim=-1)


def anomalous_logit(vectors: torch.Tensor, sides: torch.Tensor, temperature: float) -> torch.Tensor:
    """(B, ...) logit whose sigmoid is p(anomalous) of a softmax of cosine / temperature.

    A softmax over two classes depends only on the difference of their logits.

    Args:
        vectors: (B, ..., D), of any length.
        sides: (2, D) or (B, 2, D) unit vectors, normal then anomalous.
    """
    axis = (sides[..., 1, :] - sides[..., 0, :]).expand(len(vectors), -1)
    return torch.einsum("b...d,bd->b...", F.normalize(vectors, dim=-1), axis) / temperature
