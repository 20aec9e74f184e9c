"""Statistics of drawn images, computed by hand."""

import numpy as np
import pytest
from PIL import Image

from vlad.images.statistics import cells, summary

NOTHING = np.log(0.01)  # the logarithm of an energy of 0
EDGES = slice(6, 10)


def grey(values):
    """A grey image with the given values of its 256×256 pixels, in [0, 1]."""
    values = np.broadcast_to(np.round(255 * np.asarray(values)).astype(np.uint8), (256, 256))
    return Image.fromarray(np.repeat(values[..., None], 3, axis=2))


def test_one_colour():
    found = cells(Image.new("RGB", (300, 200), (51, 102, 153)))
    assert found.shape == (16, 16, 12) and found.dtype == np.float32
    # 4 times brightness, red − green and yellow − blue of (0.2, 0.4, 0.6)
    np.testing.assert_allclose(
        found[..., :3], np.broadcast_to([1.6, -0.8, -1.2], (16, 16, 3)), 1e-5
    )
    np.testing.assert_allclose(found[..., 3:], NOTHING, atol=0.03)  # rounding is energy too


def test_stripes_of_one_pixel_are_texture_without_edges():
    found = cells(grey(np.arange(256) % 2))
    half = np.log(0.51)
    expected = [2, 0, 0, half, *[NOTHING] * 6, half, half]
    np.testing.assert_allclose(found[3, 7], expected, atol=1e-4)


def test_stripes_of_two_pixels_are_coarser_texture():
    found = cells(grey(np.arange(256) // 2 % 2))
    np.testing.assert_allclose(found[3, 7, 10:], [NOTHING, np.log(0.51)], atol=1e-4)


x, y = np.meshgrid(np.arange(256), np.arange(256))


@pytest.mark.parametrize(
    ("along", "direction"),
    [(x, 0), (x + y - 128, 1), (y, 2), (255 - x + y - 128, 3)],
    ids=["vertical", "falling", "horizontal", "rising"],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_an_edge_counts_in_its_direction_whatever_its_sign(along, direction, sign):
    step = (along >= 136) == (sign == 1)
    edges = cells(grey(step))[8, 8, EDGES]
    assert edges.argmax() == direction
    if direction in (0, 2):
        # a step is half its height in two of 16 rows or columns, and nothing in the diagonals
        expected = np.full(4, NOTHING)
        expected[direction] = np.log(1 / 16 + 0.01)
        np.testing.assert_allclose(edges, expected, atol=1e-4)
    assert (cells(grey(step))[8, 2, EDGES] < np.log(0.02)).sum() >= 3


def test_a_spot_changes_its_cell_alone():
    values = np.full((256, 256), 0.5)
    before = cells(grey(values))
    values[40:44, 100:104] = 1
    moved = np.abs(cells(grey(values)) - before).max(axis=-1) > 1e-6
    assert moved.nonzero() == (2, 6)


def test_summary():
    rows = np.float32([[0, 5], [1, 5], [2, 5], [3, 5], [4, 5]]).reshape(1, 5, 2)
    found = summary(rows)
    # mean, standard deviation, then percentiles 5, 50 and 95, of both statistics
    np.testing.assert_allclose(found, [2, 5, 2**0.5, 0, 0.2, 5, 2, 5, 3.8, 5], rtol=1e-6)
    assert found.dtype == np.float32
