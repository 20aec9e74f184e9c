"""Polygons against plain versions."""

import numpy as np
import pytest

from vlad.images.polygons import fill, is_simple

STAR = [(10, 1), (12, 8), (19, 9), (13, 12), (15, 19), (10, 14), (4, 18), (7, 11), (1, 8), (8, 8)]


def plain(corners, size):
    """The pixels whose centre has an odd number of edges to its left, one by one."""
    found = np.zeros(size[::-1], bool)
    for row, column in np.ndindex(found.shape):
        x, y = column + 0.5, row + 0.5
        edges = zip(corners, [*corners[1:], corners[0]], strict=True)
        crossed = [
            (y0 > y) != (y1 > y) and x >= x0 + (y - y0) / (y1 - y0) * (x1 - x0)
            for (x0, y0), (x1, y1) in edges
        ]
        found[row, column] = sum(crossed) % 2
    return found


@pytest.mark.parametrize("turn", [1, -1])
def test_a_star_is_filled_as_point_by_point(turn):
    corners = STAR[::turn]
    np.testing.assert_array_equal(
        fill(np.array(corners, float), (20, 21)), plain(corners, (20, 21))
    )


def test_whole_pixels_of_a_box_are_inside():
    found = fill(np.array([(2, 1), (5, 1), (5, 3), (2, 3)], float), (6, 4))
    assert found[1:3, 2:5].all() and found.sum() == 6


@pytest.mark.parametrize(
    ("corners", "simple"),
    [
        (STAR, True),
        ([(0, 0), (4, 0), (4, 4), (0, 4)], True),
        ([(0, 0), (4, 4), (4, 0), (0, 4)], False),  # a bow tie
        ([(0, 0), (4, 0), (4, 4), (2, 0), (0, 4)], False),  # a corner on an edge
        ([(0, 0), (1, 0), (1, 1), (2, 1), (2, 0), (3, 0), (3, 3), (0, 3)], True),  # edges in line
    ],
)
def test_edges_that_meet(corners, simple):
    assert is_simple(np.array(corners, float)) == simple
