"""Which patches show the object: the first principal component of an image's own patches."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F

THRESHOLD = 10.0  # of the component, in the units of the tokens
CENTRE = (0.2, 0.8)  # of height and width
LEAST = 0.35  # share of the centre that the object must cover, else the other side is the object


def foreground(patches: torch.Tensor, grid: tuple[int, int], flat: bool = False) -> torch.Tensor:
    """(B, h·w, C) patch tokens -> (B, h·w) bool, true on the object.

    AnomalyDINO (arXiv 2405.14529). What lies above a threshold along the first component, or below
    its negative if that covers too little of the centre, is dilated and closed. Where nothing does,
    all patches are the object, with a warning.

    Args:
        flat: dilate and close along the reading order instead of on the grid, as the authors' code
            does: from the end of a row to the start of the next, and not up or down.
    """
    # one by one: in float64 a batch would set the memory peak
    masks = torch.cat([_masks(tokens[None], grid, flat) for tokens in patches])
    empty = ~masks.any(dim=1)
    if empty.any():
        warnings.warn(
            "The mask finds no object in some images and keeps all their patches: tokens of this "
            "backbone may be smaller than DINOv2's, for which it was made; leave out `mask`.",
            stacklevel=2,
        )
    return masks | empty[:, None]


def _masks(tokens: torch.Tensor, grid: tuple[int, int], flat: bool) -> torch.Tensor:
    """(B, N, C) -> (B, N) bool; true everywhere for an image with tokens that are not finite."""
    centred = tokens.double() - tokens.double().mean(dim=1, keepdim=True)
    broken = ~centred.isfinite().flatten(1).all(dim=1)[:, None]
    centred = torch.where(broken[..., None], 0.0, centred)
    axis = torch.linalg.eigh(centred.mT @ centred).eigenvectors[..., -1]
    sign = axis.gather(1, axis.abs().argmax(dim=1, keepdim=True)).sign()
    along = (centred @ (axis * sign)[..., None])[..., 0]
    rows, columns = (slice(int(n * CENTRE[0]), int(n * CENTRE[1])) for n in grid)
    inside = (along > THRESHOLD).unflatten(1, grid)[:, rows, columns].double().mean(dim=(1, 2))
    mask = torch.where(inside[:, None] <= LEAST, -along, along) > THRESHOLD
    shaped = mask[:, None, :, None] if flat else mask.unflatten(1, grid)[:, None]
    return (_eroded(_dilated(_dilated(shaped.float()))).flatten(1) > 0) | broken


def _dilated(mask: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(mask, 3, stride=1, padding=1)


def _eroded(mask: torch.Tensor) -> torch.Tensor:
    return -F.max_pool2d(-mask, 3, stride=1, padding=1)
