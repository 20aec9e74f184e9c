"""Language-guided projection (LAFT): keep or remove the directions in which sentences differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def guidance_basis(groups: Sequence[torch.Tensor], components: int | None = None) -> torch.Tensor:
    """The main directions of the differences between embeddings of different groups.

    These are the right singular vectors of all differences a − b, a and b of different groups (of
    one group alone: of each pair in it), about 0 and not about their mean. The directions beyond
    the numerical rank are rounding errors, so there are never more than the rank.

    Args:
        groups: (N, D) embeddings of each, not normalised.
        components: the largest number of directions; None is the rank.

    Returns:
        (k, D) orthonormal rows, float32, the most important first; k is 0 if nothing differs.
    """
    rows = torch.cat(list(groups)).cpu().double()
    own = torch.arange(len(groups)).repeat_interleave(torch.tensor([len(x) for x in groups]))
    if len(groups) == 1:
        own = torch.arange(len(rows))
    differ = (own[:, None] != own).double()
    # the Gram matrix of all differences is rowsᵀ L rows, with L the Laplacian of the graph of pairs
    values, vectors = torch.linalg.eigh(differ.sum(dim=1).diag() - differ)
    root = values.clamp_min(0).sqrt()[:, None] * vectors.T
    _, sizes, basis = torch.linalg.svd(root @ rows, full_matrices=False)
    scale = rows.norm(dim=-1).max() * values[-1].clamp_min(0).sqrt()
    rounding = max(rows.shape) * torch.finfo(torch.float32).eps * scale
    return basis[sizes > rounding][:components].to(groups[0])


def guided(x: torch.Tensor, basis: torch.Tensor, ignore: bool = False) -> torch.Tensor:
    """(..., D) vectors projected on the rows of `basis` (k, D), or without their part in them."""
    inside = (x @ basis.T) @ basis
    return x - inside if ignore else inside
