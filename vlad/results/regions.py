"""Connected regions of an anomaly map above a threshold, in pixels of the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Region:
    """One region, in pixels of the original image.

    Attributes:
        area: square pixels.
        box: (x, y, width, height), x to the right and y downwards from the upper left corner.
        outlines: corners ((x, y), ...) of the polygons around it; holes are not cut out.
        score: the highest map value in it.
    """

    area: float
    box: tuple[float, float, float, float]
    outlines: Sequence[Sequence[tuple[float, float]]]
    score: float


def find_regions(
    anomaly_map: np.ndarray,
    threshold: float,
    size: tuple[int, int] | None = None,
    min_area: float = 0.0,
) -> list[Region]:
    """Regions of pixels above a threshold, 8-connected, highest score first.

    Args:
        anomaly_map: (H, W).
        threshold: as `Calibration.map_thresholds` has it.
        size: (width, height) of the image, if the map is smaller; None is the map's own.
        min_area: smaller regions are left out; square pixels of the image.
    """
    found = [r for r, _ in each_region(anomaly_map, threshold, size) if r.area >= min_area]
    return sorted(found, key=lambda region: (-region.score, region.box))


def each_region(
    anomaly_map: np.ndarray, threshold: float, size: tuple[int, int] | None = None
) -> Iterator[tuple[Region, np.ndarray]]:
    """The regions of `find_regions` in any order, each with the (H, W) bool of its pixels."""
    from scipy import ndimage

    height, width = anomaly_map.shape
    columns, rows = size or (width, height)
    x_step, y_step = columns / width, rows / height
    labels, _ = ndimage.label(anomaly_map > threshold, np.ones((3, 3)))
    for number, (down, across) in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[down, across] == number
        x, y = across.start * x_step, down.start * y_step
        box = (x, y, inside.shape[1] * x_step, inside.shape[0] * y_step)
        outlines = [
            [(round(x + px * x_step, 2), round(y + py * y_step, 2)) for px, py in outline.tolist()]
            for outline in _outlines(inside)
        ]
        area = float(inside.sum() * x_step * y_step)
        score = float(anomaly_map[down, across][inside].max())
        region = Region(area, tuple(round(v, 2) for v in box), outlines, score)
        yield region, labels == number


def _outlines(inside: np.ndarray) -> list[np.ndarray]:
    """Corners (k, 2) of the outer outlines of a (h, w) mask, in pixels from its corner."""
    from contourpy import FillType, contour_generator

    padded = np.pad(inside.astype(float), 1)
    filled = contour_generator(z=padded, fill_type=FillType.OuterOffset).filled(0.5, 2.0)
    found = []
    for points, offsets in zip(*filled, strict=True):
        # pixel i of the mask is point i + 1 of the padded one, and reaches from i to i + 1
        outer = points[: offsets[1] - 1] - 0.5  # the last point is the first one again
        before, after = outer - np.roll(outer, 1, axis=0), np.roll(outer, -1, axis=0) - outer
        corners = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
        found.append(outer[corners])
    return found
