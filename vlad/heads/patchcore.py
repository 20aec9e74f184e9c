"""PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265)."""

from __future__ import annotations

from typing import Literal

from vlad.heads.memory import Memory
from vlad.types import Parts


def patchcore(
    layers: Parts | None = None,
    coreset: float | None = 0.25,
    patch_output: Literal["raw", "ln_post", "ln_post_proj"] = "raw",
) -> Memory:
    """The rules of PatchCore: 3×3 averages, joined layers, squared L2, maximum, greedy coreset.

    PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265).
    """
    return Memory(
        layers=layers,
        metric="squared_l2",
        top=0,
        coreset=coreset,
        neighbourhood=3,
        join=True,
        patch_output=patch_output,
    )
