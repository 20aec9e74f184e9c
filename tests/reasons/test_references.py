"""Crops of an image and of its reference image."""

import numpy as np
import pytest
from PIL import Image

from vlad.images import read_image
from vlad.images.normals import Rotations
from vlad.reasons.references import LARGEST, MARK, References
from vlad.scoring.record import digest_of
from vlad.types import NearestPatch

GRID = (10, 20)


@pytest.fixture
def file(tmp_path):
    """A reference image, dark but for a white upper left corner."""
    pixels = np.zeros((200, 400, 3), np.uint8)
    pixels[:60, :60] = 255
    Image.fromarray(pixels).save(tmp_path / "good.png")
    return tmp_path / "good.png"


def references(file, count=1, **changes):
    given = {"learned": [(str(file), digest_of(file))], "open_image": read_image}
    return References(**{**given, "views": Rotations(count), "grid": GRID, **changes})


def nearest(cell, image=0, view=0, patch=(5, 10), note=""):
    return NearestPatch(image, view, cell, 0.5, None, patch, note)


def marked(crop):
    """(left, top, right, bottom) of the frame around the patch."""
    y, x = np.nonzero((np.asarray(crop) == MARK).all(axis=-1))
    return x.min(), y.min(), x.max(), y.max()


def test_both_crops_have_one_size_and_the_patch_in_a_frame(file):
    image = Image.new("RGB", (400, 200), (0, 0, 255))
    crop, other, note = references(file).crops(image, (190, 90, 40, 20), nearest((5, 10)))
    assert note == "" and crop.size == other.size == (200, 100)  # five cells of the shorter side
    assert marked(crop) == marked(other)
    left, top, right, bottom = marked(crop)
    assert (right - left, bottom - top) == (20, 20)
    assert abs((left + right) / 2 - 100) <= 10 and abs((top + bottom) / 2 - 50) <= 10
    assert tuple(np.asarray(crop)[0, 0]) == (0, 0, 255)


def test_a_crop_at_the_border_stays_inside_the_image(file):
    image = Image.new("RGB", (400, 200))
    _, other, _ = references(file).crops(image, (0, 0, 20, 20), nearest((0, 0)))
    assert marked(other)[:2] == (0, 0)
    assert tuple(np.asarray(other)[40, 40]) == (255, 255, 255)
    assert tuple(np.asarray(other)[-1, -1]) == (0, 0, 0)


def test_a_view_is_shown_as_the_head_got_it(file):
    image = Image.new("RGB", (400, 200))
    _, other, _ = references(file, count=2).crops(image, (0, 0, 20, 20), nearest((9, 19), view=1))
    white = (np.asarray(other) > 200).all(axis=-1)
    assert white[-30:, -30:].mean() > 0.5 and not white[:30, :30].any()


def test_crops_are_bounded(file):
    image = Image.new("RGB", (4000, 3000))
    crop, _, _ = references(file).crops(image, (0, 0, 4000, 3000), nearest((5, 10)))
    assert max(crop.size) == LARGEST


def test_a_patch_of_the_same_image_is_cut_from_it(file):
    image = Image.new("RGB", (400, 200), (0, 255, 0))
    own = nearest((2, 3), image=None, view=None)
    _, other, note = references(file).crops(image, (0, 0, 20, 20), own)
    assert note == "" and tuple(np.asarray(other)[-1, -1]) == (0, 255, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learned": None}, "names of the reference images are not known"),
        ({"learned": []}, "names of the reference images are not known"),
        ({"learned": [("missing.png", "0")]}, "missing.png is no file here"),
    ],
)
def test_a_reference_image_that_is_not_there_is_not_shown(file, change, words):
    image = Image.new("RGB", (400, 200))
    crop, other, note = references(file, **change).crops(image, (0, 0, 9, 9), nearest((0, 0)))
    assert crop is not None and other is None and words in note


def test_a_file_with_another_content_is_not_shown(file):
    known = references(file)
    Image.new("RGB", (400, 200), (9, 9, 9)).save(file)
    _, other, note = known.crops(Image.new("RGB", (400, 200)), (0, 0, 9, 9), nearest((0, 0)))
    assert other is None and "changed since the fit" in note


def test_a_file_that_cannot_be_read_any_more_is_not_shown(tmp_path):
    file = tmp_path / "bad.png"
    file.write_bytes(b"nothing")
    _, other, note = references(file).crops(
        Image.new("RGB", (400, 200)), (0, 0, 9, 9), nearest((0, 0))
    )
    assert other is None and note.startswith(f"The reference image {file} is not shown: ")


def test_what_the_head_no_longer_knows_is_said(file):
    unknown = nearest(None, image=None, view=None, note="It forgot.")
    _, other, note = references(file).crops(Image.new("RGB", (40, 20)), (0, 0, 9, 9), unknown)
    assert other is None and note == "It forgot."
