"""Where tiles lie and how their maps become one, against plain slow versions and by property."""

import math

import numpy as np
import pytest
from PIL import Image

from vlad.errors import InputError
from vlad.images.tiles import Mosaic, Tiling, blend_weights, spans, tile_boxes
from vlad.types import Scores

OVERLAPS = (0, 0.1, 0.25, 0.5, 0.75, 0.89)
SIZES = [(100, 100), (99, 101), (33, 32), (32, 33), (200, 40), (40, 200), (20, 20), (300, 9)]


def mosaic_of(size, tiling, maps, scores=None):
    """An image put together from the maps of its tiles by a head "a"."""
    mosaic = Mosaic(size, tiling)
    assert len(maps) == len(mosaic.boxes)
    for i, tile_map in enumerate(maps):
        assert not mosaic.complete
        score = np.float32([0 if scores is None else scores[i]])
        mosaic.add({"a": Scores(score, tile_map[None])}, 0)
    assert mosaic.complete
    return mosaic


def plain_blend(size, boxes, maps):
    """Σ weight·map / Σ weight, in float64; the weight is the distance to the borders of a tile."""
    total, weights = np.zeros(size[::-1]), np.zeros(size[::-1])
    for (left, top, right, bottom), tile_map in zip(boxes, maps, strict=True):
        width, height = right - left, bottom - top
        across = np.array([min(x + 0.5, width - x - 0.5) for x in range(width)])
        down = np.array([min(y + 0.5, height - y - 0.5) for y in range(height)])
        weight = down[:, None] * across
        resized = Image.fromarray(tile_map).resize((width, height), Image.BILINEAR)
        total[top:bottom, left:right] += weight * np.asarray(resized, np.float64)
        weights[top:bottom, left:right] += weight
    return total / weights


# --- where tiles lie


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("tile", [32, 33, 50])
def test_tiles_cover_a_side_evenly_with_as_few_as_the_overlap_allows(tile, overlap):
    for length in range(8, 260):
        found = spans(length, tile, overlap)
        starts = [start for start, _ in found]
        assert starts[0] == 0 and found[-1][1] == length
        if length <= tile:
            assert found == [(0, length)]
            continue
        assert all(stop - start == tile for start, stop in found)
        spacing = np.diff(starts)
        assert spacing.min() >= 1 and spacing.max() - spacing.min() <= 1
        assert tile - spacing.max() >= overlap * tile
        # one tile fewer would have to be further apart somewhere
        fewer = len(found) - 2
        assert fewer == 0 or tile - math.ceil((length - tile) / fewer) < overlap * tile


def test_boxes_are_those_of_columns_and_rows_row_by_row():
    assert tile_boxes((100, 60), 40, 0.25) == [
        (left, top, left + 40, top + 40) for top in (0, 20) for left in (0, 30, 60)
    ]
    # a pixel more than a tile takes a second one; a side no longer than a tile is one as a whole
    assert tile_boxes((449, 300), 448, 0) == [(0, 0, 448, 300), (1, 0, 449, 300)]
    assert tile_boxes((448, 448), 448, 0.5) == [(0, 0, 448, 448)]
    assert tile_boxes((20, 90), 40, 0) == [(0, 0, 20, 40), (0, 25, 20, 65), (0, 50, 20, 90)]


def test_an_image_is_cut_where_the_boxes_say():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 70, 3), np.uint8))
    tiling = Tiling(40, 0.25)
    for tile, box in zip(tiling.cut(image), tiling.boxes(image.size), strict=True):
        assert np.array_equal(np.asarray(tile), np.asarray(image.crop(box)))
    assert list(Tiling(90).cut(image)) == [image]
    assert list(Tiling().cut(image)) == [image]
    assert Tiling().boxes((10**6, 10)) == [(0, 0, 10**6, 10)]


@pytest.mark.parametrize("tile", [0, 31, -448, 100.5, "448", True])
def test_a_tile_too_small_is_refused(tile):
    with pytest.raises(InputError, match="32 or more"):
        Tiling(tile)


@pytest.mark.parametrize("overlap", [-0.1, 0.9, 1, math.nan, "0.25", True, None])
def test_an_overlap_out_of_range_is_refused(overlap):
    with pytest.raises(InputError, match=r"from 0 to below 0\.9"):
        Tiling(448, overlap)


# --- one map from many


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_weights_sum_to_one_and_fall_towards_the_ends(overlap):
    for length in (8, 32, 33, 50, 64, 100, 257):
        along = spans(length, 32, overlap)
        total = np.zeros(length)
        for (start, stop), weight in zip(along, blend_weights(along), strict=True):
            assert (weight > 0).all()
            total[start:stop] += weight
        np.testing.assert_allclose(total, 1, atol=1e-6)
        # where one tile ends inside the next, the next counts three times as much or more
        for (_, stop), (start, _), weight in zip(
            along, along[1:], blend_weights(along), strict=False
        ):
            if stop - start > 1:
                assert weight[-1] <= 0.25 + 1e-6


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_the_blend_is_the_weighted_mean(size, overlap):
    rng = np.random.default_rng(0)
    boxes = tile_boxes(size, 32, overlap)
    maps = [rng.random((24, 24), np.float32) for _ in boxes]
    found = mosaic_of(size, Tiling(32, overlap), maps).maps["a"]
    assert found.dtype == np.float32 and found.shape == size[::-1]
    np.testing.assert_allclose(found, plain_blend(size, boxes, maps), atol=2e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_what_all_tiles_agree_on_comes_out_exactly(size, overlap):
    for value in (0.1, 1 / 3, 1e-30, 1.7e3, -2.3):
        constant = np.full((24, 24), value, np.float32)
        tiling = Tiling(32, overlap)
        found = mosaic_of(size, tiling, [constant] * len(tiling.boxes(size))).maps["a"]
        assert (found == np.float32(value)).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_a_ramp_has_no_seams(size, overlap):
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    ramp = 0.01 * x + 0.003 * y
    tiling = Tiling(32, overlap)
    cut = [ramp[top:bottom, left:right] for left, top, right, bottom in tiling.boxes(size)]
    np.testing.assert_allclose(mosaic_of(size, tiling, cut).maps["a"], ramp, atol=1e-6)


def test_tiles_that_disagree_pass_into_each_other_step_by_step():
    tiling = Tiling(40, 0.5)
    size = (60, 40)
    low, high = np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32)
    line = mosaic_of(size, tiling, [low, high]).maps["a"][20]
    assert (line[:20] == 0).all() and (line[40:] == 1).all()
    np.testing.assert_allclose(np.diff(line[20:40]), 1 / 20, atol=1e-6)


def test_an_image_that_is_one_tile_has_the_map_of_the_head():
    tile_map = np.random.default_rng(0).random((24, 24), np.float32)
    resized = np.asarray(Image.fromarray(tile_map).resize((40, 30), Image.BILINEAR))
    found = mosaic_of((40, 30), Tiling(64), [tile_map], [0.7])
    assert np.array_equal(found.maps["a"], resized)
    whole = mosaic_of((4000, 3000), Tiling(), [tile_map], [0.7])
    assert whole.maps["a"] is not None and np.array_equal(whole.maps["a"], tile_map)
    assert found.scores == whole.scores == {"a": np.float32(0.7)}


def test_the_largest_score_counts_and_what_is_no_number_stays_that():
    tiling, size = Tiling(32, 0), (96, 32)
    maps = [np.full((8, 8), value, np.float32) for value in (1, np.nan, 3)]
    found = mosaic_of(size, tiling, maps, [0.2, 0.9, 0.1])
    assert found.scores["a"] == np.float32(0.9)
    assert np.isnan(found.maps["a"][:, 32:64]).all()
    assert (found.maps["a"][:, 64:] == 3).all()
    for scores in ([np.nan, 1, 2], [1, np.nan, 2], [1, 2, np.nan]):
        assert math.isnan(mosaic_of(size, tiling, maps, scores).scores["a"])


def test_a_tile_too_many_is_a_mistake():
    mosaic = mosaic_of((32, 32), Tiling(32), [np.zeros((8, 8), np.float32)])
    with pytest.raises(StopIteration):
        mosaic.add({}, 0)
