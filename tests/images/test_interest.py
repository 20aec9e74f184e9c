"""Regions of interest: from files, scaled, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from vlad.errors import ImageError, InputError
from vlad.images.interest import RegionOfInterest, read_region, region_of

BOX = {"size": [40, 30], "box": [10, 5, 30, 20]}


@pytest.fixture
def write(tmp_path):
    def make(content, name="roi.json"):
        (tmp_path / name).write_text(json.dumps(content))
        return tmp_path / name

    return make


def marked(left=10, top=5, right=30, bottom=20):
    mask = np.zeros((30, 40), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_box_a_polygon_and_a_mask_image_are_one_region(write, tmp_path):
    corners = [[10, 5], [30, 5], [30, 20], [10, 20]]
    polygon = write({"size": [40, 30], "polygon": [*corners, corners[0]]}, "polygon.json")
    Image.fromarray(marked()).save(tmp_path / "mask.png")
    found = [read_region(file) for file in (write(BOX), polygon, tmp_path / "mask.png")]
    assert found[0] == found[1] == found[2]
    assert len({region.digest for region in found}) == 1
    np.testing.assert_array_equal(found[0].mask, marked())
    assert read_region(write({**BOX, "box": [10, 5, 30, 21]})).digest != found[0].digest


def test_its_png_is_the_same_region(tmp_path):
    region = RegionOfInterest.of(marked())
    (tmp_path / "roi.png").write_bytes(region.png)
    assert read_region(tmp_path / "roi.png") == region


def test_what_is_ignored_is_taken_out_at_any_size(write):
    ignored = write({"size": [80, 60], "box": [40, 0, 80, 60]}, "ignored.json")
    np.testing.assert_array_equal(region_of(write(BOX), ignored).mask, marked(right=20))
    alone = region_of(None, ignored).mask
    assert not alone[:, 40:].any() and alone[:, :40].all()
    assert region_of(None, None) is None


def test_a_pixel_of_a_map_is_inside_if_more_than_half_of_it_is():
    region = RegionOfInterest.of(marked(left=10, top=0, right=26, bottom=30))
    # columns of 10 pixels: outside, inside, 6 of 10 inside, outside
    np.testing.assert_array_equal(region.at((3, 4)), [[False, True, True, False]] * 3)
    np.testing.assert_array_equal(region.at((60, 80)), region.mask.repeat(2, 0).repeat(2, 1))


def test_a_region_smaller_than_a_pixel_of_a_map_keeps_that_pixel():
    found = RegionOfInterest.of(marked(left=11, right=12, bottom=6)).at((3, 4))
    assert found.sum() == 1 and found[0, 1]


def test_images_of_the_same_proportions_fit():
    region = RegionOfInterest.of(marked())
    for size in ((40, 30), (80, 60), (403, 300)):
        region.check("a.png", size)
    for size in ((30, 40), (405, 300), (395, 300)):
        with pytest.raises(ImageError, match=rf"a.png has {size[0]}×{size[1]} .* drawn on 40×30"):
            region.check("a.png", size)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({**BOX, "box": [10, 5, 41, 20]}, r"larger than its image of 40×30 .* \(41, 5\)"),
        ({**BOX, "box": [-1, 5, 30, 20]}, "larger than its image"),
        ({**BOX, "box": [30, 5, 10, 20]}, "left, top, right, bottom"),
        ({**BOX, "box": [10.1, 5, 10.2, 20]}, "no pixel inside"),
        ({"size": [40, 30], "polygon": [[0, 0], [20, 20], [20, 0], [0, 20]]}, "crosses or touches"),
        ({"size": [40, 30], "polygon": [[0, 0], [20, 20]]}, "2 corners"),
        ({"size": [40, 30], "polygon": [[i / 100, i % 2] for i in range(1001)]}, "3 to 1000"),
        ({"size": [40, 30], "polygon": [[0, 0], [20, 10**400], [20, 0]]}, "cannot use"),
        ({"size": [40, 30], "polygon": [[0, 0], [20, float("nan")], [20, 0]]}, "list of corners"),
        ({"size": [40, 30], "polygon": [[0, 0], [20], [20, 0]]}, "cannot use"),
        ({"size": [40, 30]}, "one of `polygon` and `box`"),
        ({**BOX, "polygon": [[0, 0], [20, 20], [20, 0]]}, "one of `polygon` and `box`"),
        ({**BOX, "unit": "mm"}, "nothing else"),
        ({**BOX, "size": [40.5, 30]}, "two whole numbers"),
        ({**BOX, "size": [40, 0]}, "two whole numbers"),
        ({**BOX, "size": [10**6, 10**6]}, "more than 100,000,000"),
        ([1], "not an object"),
        ("roi", "not an object"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(write, content, says):
    with pytest.raises(InputError, match=says):
        read_region(write(content))


def test_files_that_are_missing_or_leave_nothing(write, tmp_path):
    with pytest.raises(InputError, match=r"cannot use .*none\.json"):
        read_region(tmp_path / "none.json")
    Image.new("L", (40, 30)).save(tmp_path / "black.png")
    with pytest.raises(InputError, match=r"black\.png has no pixel inside"):
        read_region(tmp_path / "black.png")
    with pytest.raises(InputError, match="leaves nothing"):
        region_of(write(BOX), write({**BOX, "box": [0, 0, 40, 30]}, "all.json"))
    with pytest.raises(InputError, match="other proportions"):
        region_of(write(BOX), write({"size": [30, 40], "box": [0, 0, 3, 4]}, "upright.json"))
