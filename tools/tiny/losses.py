"""What the words are asked to learn, one function per demand."""

import torch
from torch.nn import functional as F

from vlad.backbones.tiny.model import PATCH

TEMPERATURE = 0.07  # of WinCLIP's softmax over the two states
SCALE = 20.0  # of the cosines between images and captions
LEAST = 0.05  # share of a patch from which on it counts as damaged
TOUCHED = 0.002  # share below which it counts as sound


def patch_labels(mask):
    """Label patches by the covered share of each.

    Args:
        mask: (B, H, W) in [0, 1].

    Returns:
        (B, h·w): 1 damaged, 0 sound, -1 touched too lightly to say.
    """
    share = F.avg_pool2d(mask[:, None], PATCH).flatten(1)
    return torch.where(share >= LEAST, 1.0, torch.where(share > TOUCHED, -1.0, 0.0))


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


def names(image, captions, pairs):
    """Images find their caption among the batch's; equal captions share the target.

    Args:
        image: (B, D); captions: (P, D); pairs: (B, P) 1 where the caption is true.
    """
    target = pairs / pairs.sum(1, keepdim=True)
    return F.cross_entropy(SCALE * cosine(image, captions), target)


def cosine(a, b):
    """Cosines between the last dimensions of (..., n, d) and (m, d): (..., n, m)."""
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
