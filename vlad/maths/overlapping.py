"""Windows of an image that overlap by half, and values of them as a map."""

from __future__ import annotations

from collections.abc import Iterator

import torch


def half_overlapping(image: torch.Tensor, count: int) -> Iterator[torch.Tensor]:
    """The n × n windows of a (C, H, W) image, row by row; each has 2 / (n + 1) of a side.

    Raises:
        ValueError: sides of fewer than n + 1 pixels.
    """
    height, width = image.shape[1:]
    if min(height, width) <= count:
        raise ValueError(f"{height}×{width} pixels do not make {count}×{count} windows")
    down, across = (
        [round(i * length / (count + 1)) for i in range(count + 2)] for length in (height, width)
    )
    for row in range(count):
        for column in range(count):
            yield image[:, down[row] : down[row + 2], across[column] : across[column + 2]]


def of_windows(values: torch.Tensor) -> torch.Tensor:
    """(B, n, n) values of such windows -> (B, n + 1, n + 1) mean of the windows over each cell."""
    batch, count, _ = values.shape
    total, over = (torch.zeros(batch, count + 1, count + 1).to(values) for _ in range(2))
    for down in (0, 1):
        for across in (0, 1):
            cells = (..., slice(down, down + count), slice(across, across + count))
            total[cells] += values
            over[cells] += 1
    return total / over
