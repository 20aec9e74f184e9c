"""Mutual comparison of images: the similarity of each patch to the patches of every other image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

from vlad.maths.precision import complement, largest_cosine
from vlad.system.room import entries, holds

# entries of one product: to fit a CPU's caches, and elsewhere 64 MiB; on a GPU more
CPU_BLOCK, BLOCK = 1 << 22, 1 << 24


def mutual_similarity(
    rows: torch.Tensor,
    out: torch.Tensor | None = None,
    tick: Callable[[], None] = lambda: None,
    device: torch.device | str = "cpu",
    side: int | None = None,
) -> torch.Tensor:
    """Cosine of each patch with its nearest patch in each image; each pair is multiplied once.

    Args:
        rows: (N, P, C) unit vectors of N images, in float32 or from `as_bfloat16`.
        out: (N, N, P) tensor for the result; None creates it.
        tick: called after each of the `block_pairs`.
        device: where the products are computed.
        side: images per side of one product, without effect on the result; None suits the device.

    Returns:
        (N, N, P): [i, j, p] compares patch p of image i with the patches of image j; −inf for
        i = j.
    """
    count, patches, _ = rows.shape
    found = torch.empty(count, count, patches) if out is None else out
    side = side or block_side(patches, device)
    buffer = rows.new_empty(min(side, count) ** 2 * patches**2, device=device)
    before = None
    for i, j in block_pairs(count, side):
        if i != before:
            a, before = _factor(rows[i].to(device)), i
        b = rows[j].to(device)
        product = buffer[: len(a) * len(b) * patches**2].view(len(a) * patches, len(b) * patches)
        torch.mm(a.flatten(0, 1), b.flatten(0, 1).T, out=product)
        product = product.view(len(a), patches, len(b), patches)
        found[i, j] = _largest(product, 3).transpose(1, 2)
        found[j, i] = _largest(product, 1).transpose(0, 1)
        tick()
    found.diagonal(dim1=0, dim2=1).fill_(-math.inf)
    return found


def similarity_to(
    rows: torch.Tensor, others: torch.Tensor, side: int | None = None
) -> torch.Tensor:
    """(B, M, P): cosine of each patch of B images with its nearest patch in each of M others."""
    patches = rows.shape[1]
    side = side or block_side(patches, rows.device)
    found = rows.new_empty(len(rows), len(others), patches, dtype=torch.float32)
    # others may be on the host: each part is moved by itself
    for i in range(0, len(rows), side):
        for j in range(0, len(others), side):
            a, b = rows[i : i + side], others[j : j + side].to(rows.device)
            product = _factor(a).flatten(0, 1) @ b.flatten(0, 1).T
            product = product.view(len(a), patches, len(b), patches)
            found[i : i + side, j : j + side] = _largest(product, 3).transpose(1, 2)
    return found


def distances_to_others(
    rows: torch.Tensor,
    distance: Callable[[torch.Tensor], torch.Tensor],
    tick: Callable[[], None],
    device: torch.device | str,
    together: int,
) -> torch.Tensor:
    """(N, P): how far each patch of N images is from all other images, by a few images at a time.

    Each pair is multiplied twice, and nothing of N² is kept: on a GPU that is faster than the host
    stores it.

    Args:
        rows: as in `mutual_similarity`, wherever they are.
        distance: (B, M, P) cosines with M other images -> (B, P).
        tick: called after each image.
        device: where the products are computed.
        together: images compared at once, without effect on the result.
    """
    everyone = rows.to(device) if holds(device, rows) else rows
    parts = []
    for start in range(0, len(rows), together):
        own = everyone[start : start + together].to(device)
        for i, near in enumerate(similarity_to(own, everyone), start):
            others = torch.cat([near[:i], near[i + 1 :]])
            parts.append(distance(others[None]))
            tick()
    return torch.cat(parts).cpu()


def images_together(count: int, patches: int, device: torch.device | str = "cpu") -> int:
    """How many of N images `distances_to_others` compares at once on a device."""
    return max(1, entries(device, BLOCK) // (count * patches))


def _factor(rows: torch.Tensor) -> torch.Tensor:
    return complement(rows) if rows.dtype == torch.bfloat16 else rows


def _largest(product: torch.Tensor, dim: int) -> torch.Tensor:
    if product.dtype == torch.bfloat16:
        return largest_cosine(product, dim)
    return product.amax(dim=dim)


def block_side(patches: int, device: torch.device | str = "cpu") -> int:
    """Number of images per side of one product that suits the device."""
    block = CPU_BLOCK if torch.device(device).type == "cpu" else entries(device, BLOCK)
    return max(1, math.isqrt(block) // patches)


def block_pairs(count: int, side: int) -> Iterator[tuple[slice, slice]]:
    """Blocks that together contain each pair of `count` images once, and no image with itself."""
    for i in range(0, count, side):
        end = min(i + side, count)
        for own in range(i, end - 1):
            yield slice(own, own + 1), slice(own + 1, end)
        for j in range(end, count, side):
            yield slice(i, end), slice(j, min(j + side, count))


def mean_distance(similarity: torch.Tensor, interval: tuple[float, float]) -> torch.Tensor:
    """MSM of MuSc: (B, M, P) cosines with M other images -> (B, P) mean of distances that count.

    Args:
        interval: the distances that count, sorted from the smallest: fractions of M, or counts if 1
            or more; at least one counts.
    """
    count = similarity.shape[1]
    low, high = (int(x * count) if x < 1 else int(x) for x in interval)
    high = min(max(high, 1), count)
    low = min(low, high - 1)
    nearest = similarity.topk(high, dim=1).values[:, low:]
    return (2 - 2 * nearest).clamp_min(0).sqrt().mean(dim=1)
