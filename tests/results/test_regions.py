"""Regions of anomaly maps against a plain flood fill, and their outlines drawn back."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from vlad.results.regions import find_regions


def flooded(mask):
    """Sets of pixels that touch by side or corner."""
    left, found = set(zip(*np.nonzero(mask), strict=True)), []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        found.append(region)
    return found


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    return ndimage.gaussian_filter(rng.normal(size=(60, 83)), 2)


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.25])
def test_the_regions_of_a_flood_fill(drawn, threshold):
    found = find_regions(drawn, threshold)
    expected = [
        (
            len(region),
            min(x for _, x in region),
            min(y for y, _ in region),
            max(x for _, x in region) + 1 - min(x for _, x in region),
            max(y for y, _ in region) + 1 - min(y for y, _ in region),
            max(drawn[y, x] for y, x in region),
        )
        for region in flooded(drawn > threshold)
    ]
    assert sorted((r.area, *r.box, r.score) for r in found) == sorted(expected)
    assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)


def test_outlines_close_in_the_region(drawn):
    canvas = Image.new("1", (830, 600))
    for region in find_regions(drawn, 0.05, size=(830, 600)):
        for outline in region.outlines:
            x, y = np.array(outline).T
            left, top, width, height = region.box
            assert left <= x.min() and x.max() <= left + width
            assert top <= y.min() and y.max() <= top + height
            ImageDraw.Draw(canvas).polygon([(a - 0.5, b - 0.5) for a, b in outline], fill=1)
    filled = ndimage.binary_fill_holes(drawn > 0.05)
    wanted = np.kron(filled, np.ones((10, 10), bool))
    # corners are cut by half a pixel of the map
    overlap = (np.asarray(canvas) & wanted).sum() / (np.asarray(canvas) | wanted).sum()
    assert overlap > 0.9


def test_sizes_count_in_pixels_of_the_image():
    values = np.zeros((10, 20))
    values[2:4, 5:9] = 1
    values[7, 15] = 3
    small, large = find_regions(values, 0.5, size=(200, 50))
    assert (small.area, small.box, small.score) == (50, (150, 35, 10, 5), 3)
    assert (large.area, large.box, large.score) == (400, (50, 10, 40, 10), 1)
    assert find_regions(values, 0.5, size=(200, 50), min_area=51) == [large]
    assert find_regions(values, 3) == []
    (whole,) = find_regions(np.ones((4, 6)), 0.5)
    assert whole.box == (0, 0, 6, 4) and len(whole.outlines) == 1
