"""The regions that are explained, their cells on the grid of patches, and their place in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from vlad.results.regions import Region, each_region

MOST = 20  # regions that are explained
COVERED = 0.5  # part of a cell that a region has to cover for it to be of the region
MOSTLY = 0.5  # part of the image from which on a region has no place of its own
ACROSS = 2 / 3  # of both sides, from which on a region is in several places
HELD = 0.05  # part of a region that lies in a place, for it to be there
NAMED = 3  # places of a region
AROUND = ("top", "bottom", "left", "right")
WHOLE = "all of the image"


@dataclass(frozen=True, eq=False)
class Found:
    """Regions, largest first, and what they were found by.

    Attributes:
        regions: at most 20.
        places: of each, in words.
        cells: (R, h·w) bool, at least one cell of each.
        level: map value that they are above.
        note: which level that is, and how many smaller regions there are.
    """

    regions: list[Region]
    places: list[str]
    cells: torch.Tensor
    level: float
    note: str


def find(
    anomaly_map: np.ndarray,
    grid: tuple[int, int],
    size: tuple[int, int],
    threshold: float | None = None,
) -> Found:
    """The regions above a threshold, or above a level of the map itself.

    The latter is half-way between median and maximum of the map, so that neither the scale of a
    head nor a value that all its maps have changes it. It is taken too if nothing reaches the
    threshold.

    Args:
        anomaly_map: (H, W).
        grid: (h, w) of the patches.
        size: (width, height) of the image.
        threshold: of maps, from a calibration; None without one.
    """
    middle, top = float(np.median(anomaly_map)), float(anomaly_map.max())
    half = (middle + top) / 2
    if threshold is not None and top > threshold:
        level, note = threshold, f"Regions are above the map threshold {threshold:.4g}."
    else:
        level = half
        note = f"Regions are above {half:.4g}, half-way between median and maximum of the map."
        if threshold is not None:
            note = f"Nothing reaches the map threshold {threshold:.4g}. {note}"
    both = sorted(each_region(anomaly_map, level, size), key=lambda one: (-one[0].area, one[0].box))
    if not both:
        note = "The map is the same everywhere, so there is no region."
    if len(both) > MOST:
        note += f" {len(both) - MOST} smaller regions are left out."
        both = both[:MOST]
    masks = [mask for _, mask in both]
    places = [place_of_region(mask) for mask in masks]
    return Found([region for region, _ in both], places, cells_of(masks, grid), level, note)


def whole(level: float, grid: tuple[int, int], size: tuple[int, int]) -> Found:
    """The whole image as one region, for a head that marks no place.

    Args:
        level: of its map, which is the same everywhere.
        grid: (h, w) of the patches.
        size: (width, height) of the image.
    """
    columns, rows = size
    corners = [(0.0, 0.0), (columns, 0.0), (columns, rows), (0.0, rows)]
    region = Region(columns * rows, (0.0, 0.0, columns, rows), [corners], level)
    cells = torch.ones(1, grid[0] * grid[1], dtype=torch.bool)
    note = "The head marks no place, so the whole image is the region."
    return Found([region], [WHOLE], cells, level, note)


def cells_of(masks: Sequence[np.ndarray], grid: tuple[int, int]) -> torch.Tensor:
    """(R, H, W) bool of pixels -> (R, h·w): cells that are half covered, or else the one most."""
    if not masks:
        return torch.zeros(0, grid[0] * grid[1], dtype=torch.bool)
    pixels = torch.from_numpy(np.stack(masks))[:, None].float()
    cover = F.adaptive_avg_pool2d(pixels, grid).flatten(1)
    return cover >= cover.amax(dim=1, keepdim=True).clamp_max(COVERED)


def place_of(x: float, y: float) -> str:
    """A point in fractions of the sides, from the upper left corner, in words."""
    down = ("top", "", "bottom")[min(2, int(3 * y))]
    across = ("left", "", "right")[min(2, int(3 * x))]
    return f"{down} {across}".strip() or "middle"


def place_of_region(mask: np.ndarray) -> str:
    """Where the pixels of a (H, W) bool are, in words.

    That is the place of their mean; of a region that is wide, or is bent around that place, the
    places that hold most of it.
    """
    if mask.mean() >= MOSTLY:
        return "most of the image"
    down, across = np.nonzero(mask)
    sides = [(found.max() - found.min() + 1) for found in (down, across)]
    x, y = (across + 0.5) / mask.shape[1], (down + 0.5) / mask.shape[0]
    middle = place_of(x.mean(), y.mean())
    wide = all(own >= ACROSS * side for own, side in zip(sides, mask.shape, strict=True))
    found, counts = np.unique(3 * (3 * y).astype(int) + (3 * x).astype(int), return_counts=True)
    held = {
        place_of((at % 3 + 0.5) / 3, (at // 3 + 0.5) / 3): count
        for at, count in sorted(zip(found.tolist(), counts, strict=True), key=lambda one: -one[1])
        if count >= HELD * len(x)
    }
    if not wide and middle in held:
        return middle
    if "middle" not in held and all(place in held for place in AROUND):
        return "all around the middle"
    return ", ".join(list(held)[:NAMED])
