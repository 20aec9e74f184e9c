"""The outline of the region of interest, as the report draws it."""

from __future__ import annotations

import numpy as np

from vlad.images.interest import RegionOfInterest
from vlad.images.resize import fit_within

_SIDE = 512  # pixels; longer side of the mask that is outlined


def outline(region: RegionOfInterest) -> tuple[str, str]:
    """An SVG path around the region, holes included, and the viewBox "0 0 W H" it is drawn in."""
    from contourpy import contour_generator

    width, height = fit_within(region.size, _SIDE)
    padded = np.pad(region.at((height, width)).astype(float), 1)
    lines = []
    for closed in map(np.asarray, contour_generator(z=padded).lines(0.5)):
        # pixel i of the mask is point i + 1 of the padded one, and reaches from i to i + 1
        points = np.clip(closed[:-1] - 0.5, 0, (width, height))
        before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
        corners = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
        lines.append("M" + "L".join(f"{x:g} {y:g}" for x, y in points[corners]) + "Z")
    return "".join(lines), f"0 0 {width} {height}"
