"""Images cut into tiles of the backbone's input, as many as their size and shape ask for."""

import numpy as np
import pytest

from vlad.images.crops import before_cut, cut, grid_of


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((384, 384), (1, 1)),
        ((100, 100), (1, 1)),  # enlarging it would keep no more
        ((385, 384), (2, 1)),
        ((768, 768), (2, 2)),
        ((1024, 1024), (3, 3)),
        ((4000, 4000), (3, 3)),  # as if it had 1024
        ((1024, 300), (3, 1)),
        ((300, 1000), (1, 3)),
        ((2048, 1024), (3, 2)),
    ],
)
def test_grid(size, grid):
    assert grid_of(size, 384) == grid


def test_no_more_than_four_tiles_a_side():
    assert grid_of((1000, 1000), 64) == (4, 4)


def test_proportions_are_kept_and_one_side_fills_the_grid():
    assert before_cut((1024, 300), 384) == (1152, 338)
    assert before_cut((300, 1000), 384) == (346, 1152)
    assert before_cut((500, 500), 384) == (768, 768)


def test_tiles_hold_the_image_between_what_was_added():
    pixels = np.arange(3 * 8 * 20, dtype=np.float32).reshape(3, 8, 20)
    tiles, (rows, columns), ((top, bottom), (left, right)) = cut(pixels, 10, np.full(3, -1.0))
    assert tiles.shape == (2, 3, 10, 10) and (rows, columns) == (1, 2)
    assert (top, bottom, left, right) == (1, 9, 0, 20)
    joined = np.concatenate(list(tiles), axis=2)
    np.testing.assert_array_equal(joined[:, top:bottom, left:right], pixels)
    assert (joined[:, :1] == -1).all() and (joined[:, 9:] == -1).all()


def test_tiles_come_row_by_row():
    pixels = np.zeros((3, 4, 4), np.float32)
    pixels[:, :2, 2:] = 1
    pixels[:, 2:, :2] = 2
    tiles, layout, _ = cut(pixels, 2, np.zeros(3))
    assert layout == (2, 2) and tiles[:, 0, 0, 0].tolist() == [0, 1, 2, 0]
