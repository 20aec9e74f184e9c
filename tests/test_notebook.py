"""Sheets of images and maps, as notebooks show them."""

import io

import numpy as np
import pytest
from PIL import Image, ImageChops

from vlad.errors import InputError
from vlad.notebook import sheet

SIDE = 40


def cell(drawn, row: int, column: int) -> Image.Image:
    """The image in a place of a sheet of two columns with maps and no titles."""
    step = SIDE + 4
    left, top = drawn.image.width - 2 * step + column * step, row * step
    return drawn.image.crop((left, top, left + SIDE, top + SIDE))


def differs(a: Image.Image, b: Image.Image) -> bool:
    return ImageChops.difference(a, b).getbbox() is not None


def test_heat_has_one_scale_for_a_row(drawn):
    quiet, loud = np.zeros((20, 30)), np.zeros((20, 30))
    quiet[:10], loud[5:15, 5:15] = 0.01, 1.0
    made = sheet(drawn[:2], {"head": [quiet, loud]}, side=SIDE)
    for column, shows_heat in enumerate((False, True)):
        assert differs(cell(made, 0, column), cell(made, 1, column)) == shows_heat


def test_maps_without_any_difference_and_masks_are_drawn(drawn):
    made = sheet(drawn[:2], {"flat": np.ones((2, 8, 8)), "mask": [np.eye(8) > 0] * 2}, side=SIDE)
    assert not differs(cell(made, 0, 0), cell(made, 1, 0))
    assert differs(cell(made, 0, 0), cell(made, 2, 0))


def test_notebooks_are_given_a_jpeg_and_a_text_that_stays(drawn, images):
    made = sheet(sorted(images.iterdir())[:3], titles=["a", "b", "c"], side=SIDE)
    shown = Image.open(io.BytesIO(made._repr_jpeg_()))
    assert (shown.format, shown.size) == ("JPEG", made.image.size)
    assert repr(made) == f"Sheet({3 * (SIDE + 4)}×{SIDE + 4 + 20})"
    assert not differs(sheet(drawn[:1], side=SIDE).image, sheet(drawn[:1], side=SIDE).image)


@pytest.mark.parametrize("wrong", [{"maps": {"head": [np.ones((4, 4))]}}, {"titles": ["one"]}])
def test_as_many_maps_and_titles_as_images(drawn, wrong):
    with pytest.raises(InputError, match="2 images got 1 "):
        sheet(drawn[:2], **wrong)


def test_no_images():
    with pytest.raises(InputError, match="at least one"):
        sheet([])
