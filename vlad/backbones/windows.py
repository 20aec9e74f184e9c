"""Separate passes of windows of patches (WinCLIP), many of them in one product."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch

from vlad.errors import BackboneError

if TYPE_CHECKING:
    from vlad.backbones.block import Block, Map
    from vlad.backbones.vit import VisionTransformer

# tokens per pass through the blocks: bounds memory without a slowdown
TOKENS = 8192


def window_patches(
    grid: tuple[int, int], side: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Indices (n, side²) of the patches in each side×side window, stride 1, row-major.

    Raises:
        BackboneError: the window is larger than the grid.
    """
    height, width = grid
    if side > min(grid):
        raise BackboneError(
            f"A window of {side}×{side} patches does not fit a grid of {height}×{width}; "
            "choose a larger image size."
        )
    patches = torch.arange(height * width, device=device).reshape(height, width)
    return patches.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)


def pass_windows(
    vision: VisionTransformer,
    tokens: torch.Tensor,
    grid: tuple[int, int],
    sides: Iterable[int],
    activation: Map | None,
    angles: torch.Tensor | None = None,
    whole: bool = False,
) -> tuple[dict[int, torch.Tensor], torch.Tensor | None]:
    """Pass each window separately, with CLS and its own positions.

    Tokens interact only in attention, so norms and products process all windows at once, and the
    first ones, before any attention, are computed once per token.

    Args:
        tokens: (B, N, C) with positions, before ln_pre.
        angles: (N, 2, d) rotary positions of the tokens, or None.
        whole: whether to pass the whole image too, as one more window.

    Returns:
        Side -> (B, n, D) projected embeddings, and the last block's output for the whole image: (B,
        1, C), or (B, N, C) if the backbone pools all tokens.
    """
    device = tokens.device
    indices = {side: _with_cls(window_patches(grid, side, device), vision.prefix) for side in sides}
    if whole:
        indices = {0: torch.arange(tokens.shape[1], device=device)[None], **indices}
    first, *middle = vision.blocks[:-1] or vision.blocks
    x = vision.ln_pre(tokens)
    q, k, v = first.qkv(first.ln_1(x))
    found: dict[int, list[torch.Tensor]] = {side: [] for side in indices}
    for parts in _batches(indices, len(x)):
        views = [part for _, part in parts]
        shapes = [(len(x) * len(view), view.shape[1]) for view in views]
        turns = [None if angles is None else angles[view].repeat(len(x), 1, 1, 1) for view in views]
        mixed = []
        for view, turn in zip(views, turns, strict=True):
            queries, keys, values = (t[:, view].flatten(0, 1) for t in (q, k, v))
            mixed.append(first.mix(queries, keys, values, angles=turn))
        own = torch.cat([x[:, view].flatten(0, 2) for view in views])
        own = first.finish(own, _flat(mixed), activation)
        for block in middle:
            own = _together(block, own, shapes, activation, turns)
        split = own.split([count * length for count, length in shapes])
        for (side, _), shape, flat, turn in zip(parts, shapes, split, turns, strict=True):
            last = flat.unflatten(0, shape)
            if len(vision.blocks) > 1:
                block = vision.blocks[-1]
                run = block.first if vision.pool is None else block
                last = run(last, activation, angles=turn)
            if side:
                last = vision.embed_image(last).unflatten(0, (len(x), -1))
            found[side].append(last)
    joined = {side: torch.cat(parts, dim=1) for side, parts in found.items() if side}
    return joined, found[0][0] if whole else None


def _with_cls(patches: torch.Tensor, prefix: int) -> torch.Tensor:
    """Token indices from patch indices, with CLS and registers first if there are any."""
    own = torch.arange(prefix, device=patches.device).expand(len(patches), -1)
    return torch.cat([own, patches + prefix], dim=1)


def _batches(
    indices: Mapping[int, torch.Tensor], images: int
) -> Iterator[list[tuple[int, torch.Tensor]]]:
    """The windows in order, in batches of at most TOKENS tokens or one window."""
    batch: list[tuple[int, torch.Tensor]] = []
    left = TOKENS
    for side, index in indices.items():
        while len(index):
            count = left // (images * index.shape[1])
            if not count and batch:
                yield batch
                batch, left = [], TOKENS
                continue
            part, index = index[: max(1, count)], index[max(1, count) :]
            batch.append((side, part))
            left -= images * part.numel()
    yield batch


def _together(
    block: Block,
    x: torch.Tensor,
    shapes: list[tuple[int, int]],
    activation: Map | None,
    angles: list[torch.Tensor | None],
) -> torch.Tensor:
    """A block on (T, C) tokens: `shapes` are (number, length) of independent sequences."""
    sizes = [count * length for count, length in shapes]
    parts = zip(*(t.split(sizes) for t in block.qkv(block.ln_1(x))), strict=True)
    mixed = []
    for part, shape, turn in zip(parts, shapes, angles, strict=True):
        queries, keys, values = (t.unflatten(0, shape) for t in part)
        mixed.append(block.mix(queries, keys, values, angles=turn))
    return block.finish(x, _flat(mixed), activation)


def _flat(parts: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([part.flatten(0, 1) for part in parts])
