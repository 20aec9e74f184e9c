"""Cosines of unit vectors by products in bfloat16 that keep small distances apart."""

from __future__ import annotations

import torch
import torch.nn.functional as F

# further channels, whose products add up to 1; as many as keep rows aligned
PAD = 16


def as_bfloat16(rows: torch.Tensor) -> torch.Tensor:
    """(..., C) unit vectors -> (..., C + PAD), of which `complement` gives the other factor."""
    return F.pad(rows, (0, PAD), value=PAD**-0.5).bfloat16()


def complement(rows: torch.Tensor) -> torch.Tensor:
    """The other factor: `complement(a) @ b.T` is 1 − cos.

    A product is rounded to 8 bits: of cos that would be 4e-3 near 1, of 1 − cos it is a small part
    of the distance. Rounded vectors are not quite of length 1; over many channels that cancels.
    """
    other = -rows
    other[..., -PAD:] = rows[..., -PAD:]
    return other


def largest_cosine(products: torch.Tensor, dim: int) -> torch.Tensor:
    """The largest cosine along a dimension, in float32, of products of `complement`."""
    # numbers in bfloat16 that are not negative have the order of their bits, which is found faster
    least = products.view(torch.int16).amin(dim=dim).view(torch.bfloat16)
    return 1 - least.float().clamp_min(0)


def as_half(x: torch.Tensor) -> torch.Tensor:
    """The values of half precision in float32, for tokens that methods' authors round.

    Gradients pass as they are: rounded too, the small ones of a mean over pixels would become 0.
    """
    rounded = x.detach().half().float()
    return rounded + (x - x.detach()) if x.requires_grad else rounded
