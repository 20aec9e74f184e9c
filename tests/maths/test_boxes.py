"""What boxes cover, and the cell of the surest one."""

import pytest
import torch

from vlad.maths.boxes import CELLS_SIDE, cell, covered
from vlad.types import Box


def box_at(x, y, score=0.5, side=CELLS_SIDE):
    """A box of 20 pixels around a point of an image of `side` pixels."""
    return Box(((x - 10) / side, (y - 10) / side, (x + 10) / side, (y + 10) / side), score, "dent")


def test_edges_are_cut_to_whole_pixels_and_boxes_add_up():
    boxes = [Box((0.19, 0.0, 0.59, 0.35), 0.5, "dent"), Box((0.9, 0.9, 1.0, 1.0), 0.1, "hole")]
    expected = torch.zeros(10, 20, dtype=torch.bool)
    expected[0:3, 3:11] = True
    expected[9:, 18:] = True
    assert torch.equal(covered(boxes, (10, 20)), expected)
    assert not covered([], (10, 20)).any()


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (100, 100, 0), (250, 100, 1), (400, 100, 2), (100, 250, 3), (400, 400, 8),
        (172.5, 100, None), (100, 344.5, None), (172, 344, 3),
    ],
)  # fmt: skip
def test_cells_leave_gaps_of_a_pixel(x, y, expected):
    assert cell([box_at(x, y)], (CELLS_SIDE, CELLS_SIDE)) == expected
    # and scale with the image
    assert cell([box_at(x, y)], (CELLS_SIDE // 2, CELLS_SIDE // 2)) == expected


def test_the_surest_box_decides_and_the_later_of_equals():
    size = (CELLS_SIDE, CELLS_SIDE)
    assert cell([box_at(100, 100, 0.6), box_at(400, 400, 0.5)], size) == 0
    assert cell([box_at(100, 100, 0.5), box_at(400, 400, 0.5)], size) == 8


def test_without_boxes_it_is_the_centre():
    assert cell([], (CELLS_SIDE, CELLS_SIDE)) == 4
