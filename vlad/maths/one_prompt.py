"""The networks of OneNIP: an image rebuilt beside a normal one, and where the two differ.

Shapes: B images, N places, D = 256 channels. Tensors have the names that torch's modules would give
them: "encoder.0.attention.in.weight", "decoder.0.linear1.weight", "refiner.0.weight", ...
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from vlad.maths.networks import Tensors, decode, linear

Drop = Callable[[torch.Tensor], torch.Tensor]

HEADS = 8
DEPTH = 4  # layers of encoder and decoder
RADIUS = 3  # of the square of places around each one that it does not see


def rebuilt(
    query: torch.Tensor,
    prompt: torch.Tensor,
    tensors: Tensors,
    grid: tuple[int, int],
    drop: Drop = lambda x: x,
) -> torch.Tensor:
    """(B, N, C) tokens of images and of a normal one beside each -> (B, N, C) rebuilt tokens.

    Args:
        drop: what is done to the output of every branch in training.
    """
    places, hidden = positions(tensors), neighbours(grid).to(query.device, non_blocking=True)

    def attend(name: str, x: torch.Tensor, y: torch.Tensor, masked: bool = True) -> torch.Tensor:
        return drop(
            _attention(x + places, y + places, y, tensors, name, hidden if masked else None)
        )

    def mix(name: str, x: torch.Tensor) -> torch.Tensor:
        inner = drop(linear(x, tensors, f"{name}.linear1").relu())
        return drop(linear(inner, tensors, f"{name}.linear2"))

    def encode(x: torch.Tensor) -> torch.Tensor:
        for i in range(DEPTH):
            name = f"encoder.{i}"
            x = _norm(x + attend(f"{name}.attention", x, x), tensors, f"{name}.norm1")
            x = _norm(x + mix(name, x), tensors, f"{name}.norm2")
        return x

    z, y = (encode(linear(x, tensors, "input")) for x in (prompt, query))
    for i in range(DEPTH):
        name = f"decoder.{i}"
        z = _norm(z + attend(f"{name}.to_image", z, y), tensors, f"{name}.norm1")
        z = _norm(z + mix(name, z), tensors, f"{name}.norm2")
        y = _norm(y + attend(f"{name}.to_prompt", y, z), tensors, f"{name}.norm3")
    z = _norm(z + attend("last", z, y, masked=False), tensors, "norm")
    return linear(z, tensors, "output")


def refined(
    difference: torch.Tensor, tensors: Tensors, grid: tuple[int, int], training: bool = False
) -> torch.Tensor:
    """(B, N, C) differences to the rebuilt tokens -> (B, 1, 4h, 4w) logits of a defect."""
    image = difference.transpose(1, 2).unflatten(2, grid)
    return decode(image, tensors, "refiner", training)


def positions(tensors: Tensors) -> torch.Tensor:
    """(N, D) of a grid: first those of the column, then those of the row."""
    column, row = tensors["column"], tensors["row"]
    h, w = len(row), len(column)
    both = (column.expand(h, -1, -1), row[:, None].expand(-1, w, -1))
    return torch.cat(both, dim=-1).flatten(0, 1)


def neighbours(grid: tuple[int, int]) -> torch.Tensor:
    """(N, N) whether a place does not see another: those of the 7×7 around it, itself included.

    On grids so small that the middle would see nothing, the square is smaller.
    """
    radius = min(RADIUS, max(grid) // 2 - 1)
    rows, columns = (torch.arange(length) for length in grid)
    near = [(x[:, None] - x).abs() <= radius for x in (rows, columns)]
    return (near[0][:, None, :, None] & near[1][None, :, None, :]).flatten(0, 1).flatten(1)


def _attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    tensors: Tensors,
    name: str,
    hidden: torch.Tensor | None,
) -> torch.Tensor:
    """Multi-head attention of (B, N, D) tokens; `hidden` (N, N) is what each does not see."""
    weights = tensors[f"{name}.in.weight"].chunk(3)
    biases = tensors[f"{name}.in.bias"].chunk(3)
    q, k, v = (
        F.linear(x, weight, bias).unflatten(2, (HEADS, -1)).transpose(1, 2)
        for x, weight, bias in zip((q, k, v), weights, biases, strict=True)
    )
    seen = None if hidden is None else ~hidden
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    return linear(found.transpose(1, 2).flatten(2), tensors, f"{name}.out")


def _norm(x: torch.Tensor, tensors: Tensors, name: str) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"])
