"""The views that heads remember of normal images."""

import numpy as np
import pytest
from PIL import Image

from vlad.images.normals import ITSELF, Rotations, views_of


@pytest.fixture
def image():
    pixels = np.random.default_rng(0).integers(40, 200, (20, 30, 3), np.uint8)
    return Image.fromarray(pixels)


def arrays(views, image):
    return [np.asarray(view) for view in views(image)]


def test_flips_exchange_sides(image):
    itself, across, down = arrays(views_of(1, ["horizontal_flip", "vertical_flip"]), image)
    pixels = np.asarray(image)
    assert np.array_equal(itself, pixels)
    assert np.array_equal(across, pixels[:, ::-1])
    assert np.array_equal(down, pixels[::-1])


def test_rotations_come_first_and_each_change_once(image):
    found = arrays(views_of(4, ["vertical_flip", "vertical_flip"]), image)
    assert len(found) == 5
    for one, other in zip(found, arrays(Rotations(4), image), strict=False):
        assert np.array_equal(one, other)


def test_jitter_is_small_differs_between_images_and_is_the_same_again(image):
    jitter = views_of(1, ["colour_jitter"])
    itself, found = (x.astype(float) for x in arrays(jitter, image))
    assert 0 < np.abs(found - itself).mean() < 30
    assert np.array_equal(found, arrays(jitter, image)[1])
    other = Image.fromarray(np.asarray(image)[::-1].copy())
    changed = arrays(jitter, other)[1][::-1].astype(float)
    assert np.abs(changed - found).mean() > 0.5  # drawn from the pixels


def test_jitter_changes_colour_alone():
    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    found = arrays(views_of(1, ["colour_jitter"]), grey)[1]
    assert len(np.unique(found)) == 1 and 80 <= found[0, 0, 0] <= 120


def test_without_changes_views_are_those_that_other_heads_share():
    assert views_of(1, ()) == ITSELF
    assert views_of(8, []) == Rotations(8)
    assert views_of(1, ["vertical_flip"]) == views_of(1, ("vertical_flip",))
