"""The losses named in a recipe, computed from a head's outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vlad.maths.logits import Logits
from vlad.training import losses

# name in a recipe -> (logits, labels of the same shape) -> losses of the same shape
IMAGE_LOSSES: dict[str, Callable] = {
    "image_cross_entropy": losses.cross_entropy,
    # of the probabilities, as if these were logits
    "image_cross_entropy_twice": lambda logit, label: losses.cross_entropy(
        2 * logit.sigmoid() - 1, label
    ),
    "image_focal": lambda logit, label: losses.focal(
        logit.sigmoid().flatten(), label.flatten()
    ).view_as(logit),
}
# name in a recipe -> (probabilities of one block (B, H, W), masks (B, H, W)) -> (B,)
MAP_LOSSES: dict[str, Callable] = {
    "map_focal": losses.focal,
    "map_dice_anomalous": losses.dice,
    "map_dice_normal": lambda p, mask: losses.dice(1 - p, 1 - mask),
    "map_dice_rows_anomalous": losses.dice_of_rows,
    "map_dice_rows_normal": lambda p, mask: losses.dice_of_rows(1 - p, 1 - mask),
}
LOSSES = (*IMAGE_LOSSES, *MAP_LOSSES)


def batch_losses(
    names: list[str],
    head,
    logits: Logits,
    labels: torch.Tensor,
    masks: torch.Tensor,
    masked: torch.Tensor,
    grid: tuple[int, int],
) -> dict[str, torch.Tensor]:
    """Name -> unweighted mean over images, summed over a head's image scores or its blocks.

    Args:
        labels: (B,) 0 or 1.
        masks: (B, H, W) 0 or 1 at the size of the input.
        masked: (B,) bool, whether an image has a mask; map losses are means over these.
    """
    image = logits.image.float().reshape(len(labels), -1)
    found = {
        name: IMAGE_LOSSES[name](image, labels[:, None].expand_as(image)).mean(dim=0).sum()
        for name in names
        if name in IMAGE_LOSSES
    }
    wanted = [name for name in names if name in MAP_LOSSES]
    if not wanted:
        return found
    if not masked.any():
        nothing = 0.0 * logits.patches.sum()  # so every learned tensor gets a gradient
        return found | {name: nothing for name in wanted}
    size = (masks.shape[-2], masks.shape[-1])
    maps = head.layer_maps(logits.patches[masked].float(), grid, size)
    for name in wanted:
        of_layers = [MAP_LOSSES[name](layer, masks[masked]).mean() for layer in maps.unbind(dim=1)]
        found[name] = torch.stack(of_layers).sum()
    return found
