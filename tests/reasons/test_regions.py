import numpy as np
import pytest

from vlad.reasons.regions import MOST, cells_of, find, place_of, place_of_region, whole


def blobs(*places: tuple[slice, slice], height: float = 1.0) -> np.ndarray:
    made = np.zeros((40, 40), np.float32)
    for place in places:
        made[place] = height
    return made


def test_regions_come_largest_first_with_their_cells():
    small, large = np.s_[0:4, 0:4], np.s_[20:32, 20:36]
    found = find(blobs(small, large), (10, 10), (80, 40))
    assert [region.box for region in found.regions] == [(40, 20, 32, 12), (0, 0, 8, 4)]
    assert found.cells.shape == (2, 100)
    grid = found.cells.unflatten(1, (10, 10))
    assert grid[0].nonzero().tolist() == [[y, x] for y in (5, 6, 7) for x in (5, 6, 7, 8)]
    assert grid[1].nonzero().tolist() == [[0, 0]]


def test_the_level_is_halfway_between_median_and_maximum_whatever_the_scale():
    ramp = np.tile(np.linspace(0, 1, 41), (41, 1)).astype(np.float32)
    found = find(ramp, (41, 41), (41, 41))
    assert found.level == pytest.approx(0.75)
    assert "half-way between median and maximum" in found.note
    shifted = find(5 + 10 * ramp, (41, 41), (41, 41))
    assert shifted.cells.equal(found.cells)


def test_a_threshold_is_the_level_if_anything_reaches_it():
    blob = blobs(np.s_[0:4, 0:4])
    found = find(blob, (10, 10), (40, 40), threshold=0.9)
    assert found.level == 0.9 and found.note == "Regions are above the map threshold 0.9."
    missed = find(blob, (10, 10), (40, 40), threshold=1.5)
    assert missed.level == 0.5
    assert missed.note.startswith("Nothing reaches the map threshold 1.5. Regions are above 0.5")


def test_a_map_without_differences_has_no_region():
    found = find(np.ones((8, 8), np.float32), (2, 2), (8, 8))
    assert found.regions == [] and found.cells.shape == (0, 4)
    assert found.note == "The map is the same everywhere, so there is no region."


def test_a_head_without_places_has_the_whole_image_as_its_region():
    found = whole(0.0, (2, 3), (80, 40))
    assert found.cells.shape == (1, 6) and found.cells.all()
    (region,) = found.regions
    assert (region.area, region.box) == (3200, (0, 0, 80, 40))
    assert found.places == ["all of the image"]
    assert "marks no place" in found.note


def test_the_smallest_of_many_regions_are_counted():
    dots = np.zeros((40, 40), np.float32)
    dots[::4, ::4] = 1
    found = find(dots, (10, 10), (40, 40))
    assert len(found.regions) == len(found.cells) == MOST
    assert f" {100 - MOST} smaller regions are left out." in found.note


def test_a_region_smaller_than_half_a_cell_has_the_cell_that_it_covers_most():
    mask = np.zeros((40, 40), bool)
    mask[3, 2:7] = True  # two pixels in the first cell, three in the second
    assert cells_of([mask], (10, 10)).nonzero().tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (0.1, 0.1, "top left"),
        (0.5, 0.1, "top"),
        (0.9, 0.5, "right"),
        (0.5, 0.5, "middle"),
        (1.0, 1.0, "bottom right"),
    ],
)
def test_places_in_words(x, y, words):
    assert place_of(x, y) == words


def test_the_place_of_a_region_is_where_its_pixels_are():
    def place(*parts):
        mask = np.zeros((30, 60), bool)
        for part in parts:
            mask[part] = True
        return place_of_region(mask)

    assert place(np.s_[2:28, 5:55]) == "most of the image"
    assert place(np.s_[2:8, 5:55]) == "top"
    # an angle whose box is in the middle
    assert place(np.s_[2:28, 10:12], np.s_[20:28, 10:45]) == "bottom"
    # half of a small ring: where its pixels are, though their mean is between them
    assert place(np.s_[9:21, 17:19], np.s_[9:10, 17:30], np.s_[20:21, 17:30]) == "left, top, bottom"


def test_a_region_as_wide_as_the_image_is_in_several_places():
    down, across = np.mgrid[:90, :90] - 44.5
    far = np.hypot(down, across)
    assert place_of_region((far > 35) & (far < 40)) == "all around the middle"
    assert place_of_region((far > 35) & (far < 40) & (down > -20)) == "left, right, bottom"
    assert place_of_region(far < 40) == "most of the image"
    # a scratch from corner to corner
    assert place_of_region(abs(down - across) < 3) == "top left, middle, bottom right"
    # a few pixels more do not move it
    assert place_of_region((far > 35) & (far < 40) | (far < 1)) == "all around the middle"
