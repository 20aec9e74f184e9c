"""Which patches show the object: those that the registers attend to (SubspaceAD)."""

from __future__ import annotations

from typing import Literal

import torch

LEAST = 0.15  # share of the patches that are not the object, by rank
LEVELS = 256


def attended(attention: torch.Tensor, rule: Literal["rank", "otsu"]) -> torch.Tensor:
    """(B, N) attention of each patch -> (B, N) bool, true on the object.

    Where the attention is the same everywhere or no number, all patches are the object.

    Args:
        rule: "rank" leaves out the 15 % of the patches that are attended to least; "otsu" those
            below Otsu's threshold between 256 levels of each image.
    """
    low, high = attention.amin(dim=1, keepdim=True), attention.amax(dim=1, keepdim=True)
    if rule == "rank":
        found = attention >= attention.quantile(LEAST, dim=1, keepdim=True)
    else:
        levels = ((attention - low) / (high - low) * (LEVELS - 1)).nan_to_num(0).long()
        found = levels > torch.stack([_otsu(one) for one in levels])[:, None]
    return found | ~(high > low)


def _otsu(levels: torch.Tensor) -> torch.Tensor:
    """(N,) levels -> the level up to which they are of the lower class (Otsu, 1979)."""
    sizes = torch.bincount(levels, minlength=LEVELS).double()
    share = sizes.cumsum(dim=0) / len(levels)
    sums = (sizes * torch.arange(LEVELS, device=levels.device)).cumsum(dim=0) / len(levels)
    between = (sums[-1] * share - sums).square() / (share * (1 - share))
    return between.nan_to_num(0, posinf=0).argmax()
