"""What the backbone is asked to learn, one function per demand."""

import torch
from torch.nn import functional as F

from tiny.constants import PATCH
from tiny.model import cosine

TEMPERATURE = 0.07
LEAST = 0.05


def patch_labels(mask):
    """Label patches by the covered share of each.

    Args:
        mask: (B, H, W) in [0, 1].

    Returns:
        (B, h·w): 1 damaged, 0 sound, -1 touched too lightly to say.
    """
    share = F.avg_pool2d(mask[:, None], PATCH).flatten(1)
    return torch.where(share >= LEAST, 1.0, torch.where(share > 0.002, -1.0, 0.0))


def any_label(labels):
    """1 if any patch of the set is damaged, 0 if all are sound, else -1; (..., k) -> (...)."""
    some, none = (labels == 1).any(-1), (labels == 0).all(-1)
    return torch.where(some, 1.0, torch.where(none, 0.0, -1.0))


def balanced(logits, labels):
    """Binary cross-entropy, damaged and sound weighing the same; labels of -1 are left out."""
    loss = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0), reduction="none")
    parts = [loss[labels == side] for side in (0, 1)]
    parts = [part.mean() for part in parts if part.numel()]
    return sum(parts) / len(parts) if parts else logits.sum() * 0


def state_logit(embedding, sides):
    """Log-odds of damage of WinCLIP's two-way softmax; (..., D) and (2, D) -> (...)."""
    both = cosine(embedding, sides) / TEMPERATURE
    return both[..., 1] - both[..., 0]


def names(image, captions, pairs, scale):
    """Images find their caption among the batch's; equal captions share the target.

    Args:
        image: (B, D); captions: (P, D); pairs: (B, P) 1 where the caption is true.
    """
    logits = scale * cosine(image, captions)
    target = pairs / pairs.sum(1, keepdim=True)
    return F.cross_entropy(logits, target)
