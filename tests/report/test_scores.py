"""The scores that users get, at the sizes of their images and drawn over them."""

import numpy as np
import pytest
import torch
from PIL import Image

import vlad
from vlad.errors import InputError
from vlad.images.resize import resize_map
from vlad.report.heat import overlay, shared_scale

MAPS = np.random.default_rng(0).random((2, 8, 8), np.float32)
SCORES = vlad.ImageScores(MAPS.max((1, 2)), MAPS)
WIDE, TALL = Image.new("RGB", (40, 20), "gray"), Image.new("RGB", (10, 30), "gray")


def test_maps_at_the_size_of_their_images(tmp_path):
    wide, tall = SCORES.at([WIDE, np.asarray(TALL)])
    assert np.array_equal(wide, resize_map(MAPS[0], (40, 20))) and wide.shape == (20, 40)
    assert np.array_equal(tall, resize_map(MAPS[1], (10, 30)))
    WIDE.save(tmp_path / "wide.png")
    one = vlad.ImageScores(SCORES.image_score[:1], MAPS[:1])
    for given in (tmp_path / "wide.png", torch.zeros(3, 20, 40)):
        assert np.array_equal(one.at(given), wide)
    assert np.array_equal(one.at(np.zeros((1, 20, 40, 3), np.uint8))[0], wide)


def test_maps_that_have_the_sizes_of_their_images_stay():
    maps = np.empty(2, object)
    maps[:] = resize_map(MAPS[0], (40, 20)), resize_map(MAPS[1], (10, 30))
    found = vlad.ImageScores(SCORES.image_score, maps).at([WIDE, TALL])
    assert all(np.array_equal(*pair) for pair in zip(found, maps, strict=True))


def test_overlays_of_one_call_share_a_scale(tmp_path):
    scale = shared_scale(list(MAPS), (float(MAPS.min()), float(MAPS.max())))
    drawn = SCORES.overlay([WIDE, TALL])
    for image, found, one in zip((WIDE, TALL), MAPS, drawn, strict=True):
        expected = overlay(image, resize_map(found, image.size), *scale)
        assert np.array_equal(np.asarray(one), np.asarray(expected))
    alone = vlad.ImageScores(SCORES.image_score[:1], MAPS[:1])
    alone.overlay(WIDE, scale).save(tmp_path / "heat.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "heat.png")), np.asarray(drawn[0]))
    assert not np.array_equal(np.asarray(alone.overlay(WIDE)), np.asarray(drawn[0]))


def test_a_flat_map_is_drawn():
    flat = vlad.ImageScores(np.zeros(1, np.float32), np.zeros((1, 8, 8), np.float32))
    assert flat.overlay(WIDE).size == WIDE.size


@pytest.mark.parametrize("images", [WIDE, [WIDE], [WIDE] * 3, []])
def test_other_images_than_were_scored(images):
    for use in (SCORES.at, SCORES.overlay):
        with pytest.raises(InputError, match="do not match 2 scores"):
            use(images)
