"""Rounding that does not stand in the way of learning."""

from __future__ import annotations

import torch


def as_half(x: torch.Tensor) -> torch.Tensor:
    """The values of half precision in float32, for tokens that methods' authors round.

    Gradients pass as they are: rounded too, the small ones of a mean over pixels would become 0.
    """
    rounded = x.detach().half().float()
    return rounded + (x - x.detach()) if x.requires_grad else rounded
