"""Cosines of unit vectors by bfloat16 products that keep small distances distinct."""

from __future__ import annotations

import torch
import torch.nn.functional as F

# extra channels, whose products add up to 1; as many as keep rows aligned
PAD = 16


def as_bfloat16(rows: torch.Tensor) -> torch.Tensor:
    """(..., C) unit vectors -> (..., C + PAD); `complement` gives the other factor."""
    return F.pad(rows, (0, PAD), value=PAD**-0.5).bfloat16()


def complement(rows: torch.Tensor) -> torch.Tensor:
    """The other factor: `complement(a) @ b.T` is 1 − cos.

    A product is rounded to 8 bits: for cos this would be 4e-3 near 1, for 1 − cos it is a small
    part of the distance. Rounded vectors have not quite length 1; over many channels this cancels.
    """
    other = -rows
    other[..., -PAD:] = rows[..., -PAD:]
    return other


def largest_cosine(products: torch.Tensor, dim: int) -> torch.Tensor:
    """The largest cosine along a dimension, in float32, from products of `complement`."""
    # non-negative bfloat16 numbers sort like their bits, which is faster
    least = products.view(torch.int16).amin(dim=dim).view(torch.bfloat16)
    return 1 - least.float().clamp_min(0)


def as_half(x: torch.Tensor) -> torch.Tensor:
    """Round to half precision, in float32, for tokens that methods' authors round.

    Gradients pass unrounded: otherwise the small ones of a mean over pixels would become 0.
    """
    rounded = x.detach().half().float()
    return rounded + (x - x.detach()) if x.requires_grad else rounded
