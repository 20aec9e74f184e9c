"""The losses that the methods share, one value per image, so any split of a batch agrees.

AnomalyCLIP, APRIL-GAN and AdaCLIP all include the same focal (Lin et al., ICCV 2017) and dice loss
(Milletari et al., 3DV 2016); constants and smoothing are those of their code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

GAMMA = 2.0
SMOOTH = 1e-5


def focal(probability: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(B,) mean over all values of −(1 − pₜ)² ln pₜ, with equal class weights.

    pₜ is the probability of the true class, with the target smoothed by 1e-5, plus 1e-5.

    Args:
        probability: (B, ...) probability of the anomalous class, in [0, 1].
        target: (B, ...) 0 or 1.
    """
    anomalous = target.to(probability).clamp(SMOOTH, 1 - SMOOTH)
    true = anomalous * probability + (1 - anomalous) * (1 - probability) + SMOOTH
    loss = -((1 - true) ** GAMMA) * true.log()
    return loss.flatten(1).mean(dim=1) if loss.ndim > 1 else loss


def dice(probability: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(B,) 1 − (2·Σ p·t + 1) / (Σ p + Σ t + 1) of each image.

    Args:
        probability, target: (B, ...) of one class.
    """
    p, t = probability.flatten(1), target.to(probability).flatten(1)
    return 1 - (2 * (p * t).sum(dim=1) + 1) / (p.sum(dim=1) + t.sum(dim=1) + 1)


def dice_of_rows(probability: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(B,) mean over the rows of each image of their dice loss.

    This is what programs compute that train with one image a step and drop the axis of images.

    Args:
        probability, target: (B, H, W) of one class.
    """
    return (
        dice(probability.flatten(0, 1), target.flatten(0, 1))
        .unflatten(0, target.shape[:2])
        .mean(dim=1)
    )


def cross_entropy(logit: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """(B,) cross-entropy of two classes, from the logit of the anomalous class.

    Args:
        logit: (B,), the difference of the two classes' logits.
        label: (B,) 0 or 1.
    """
    return F.binary_cross_entropy_with_logits(logit, label.to(logit), reduction="none")
