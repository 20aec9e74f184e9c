"""Anomaly maps as files: what comes back is what was stored."""

import numpy as np
import pytest
from PIL import Image

from vlad.errors import InputError
from vlad.results.maps import largest_cut, read_map, write_map


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-3.0, 17.0), (0.0, 1e-4)])
def test_a_png_map_comes_back_within_one_level_of_its_range(tmp_path, value_range):
    low, high = value_range
    values = np.random.default_rng(0).uniform(low, high, (33, 47)).astype(np.float32)
    back = read_map(write_map(tmp_path / "m.png", values, (47, 33), value_range))
    assert back.dtype == np.float32 and back.shape == values.shape
    assert np.abs(back.astype(float) - values).max() <= (high - low) / 65535


def test_a_png_map_is_16_bit_grey_and_holds_its_range(tmp_path):
    with Image.open(write_map(tmp_path / "m.png", np.eye(5), (5, 5), (0, 2))) as image:
        assert image.mode.startswith("I;16")
        assert (float(image.text["low"]), float(image.text["high"])) == (0, 2)
        assert np.asarray(image).max() == round(65535 / 2)


def test_maps_are_never_stretched_per_image(tmp_path):
    quiet, loud = np.full((8, 8), 0.25), np.full((8, 8), 0.25)
    quiet[2, 2], loud[2, 2] = 0.26, 0.9
    for name, values in (("quiet", quiet), ("loud", loud)):
        back = read_map(write_map(tmp_path / f"{name}.png", values, (8, 8), (0.0, 1.0)))
        np.testing.assert_allclose(back, values, atol=1 / 65535)


def test_values_outside_the_range_are_cut_off_and_npy_keeps_them(tmp_path):
    values = np.array([[-1.0, 0.5], [0.5, 3.0]])
    png = read_map(write_map(tmp_path / "m.png", values, (2, 2), (0.0, 1.0)))
    assert png[0, 0] == 0 and png[1, 1] == 1
    npy = read_map(write_map(tmp_path / "m.npy", values, (2, 2), (0.0, 1.0)))
    np.testing.assert_array_equal(npy, values.astype(np.float32))


@pytest.mark.parametrize("name", ["m.png", "m.npy"])
@pytest.mark.parametrize("share", [0, 0.1, 0.9])
def test_a_damaged_map_is_one_sentence(tmp_path, name, share):
    path = write_map(tmp_path / name, np.random.rand(99, 99), (99, 99), (0.0, 1.0))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=rf"cannot read the map .*{name} .*remove it .*`resume`"):
        read_map(path)


def test_a_map_that_was_cut_keeps_its_largest_value(tmp_path):
    values = np.array([[0.1, 0.5], [0.5, 3.0]])
    cut = write_map(tmp_path / "cut.png", values, (2, 2), (0.0, 1.0))
    assert largest_cut(cut) == 3
    whole = write_map(tmp_path / "whole.png", values, (2, 2), (0.0, 3.0))
    assert largest_cut(whole) is None
    # rounding is not cutting
    almost = write_map(tmp_path / "almost.png", values, (2, 2), (0.0, 3.0 - 1e-6))
    assert largest_cut(almost) is None
    assert largest_cut(write_map(tmp_path / "m.npy", values, (2, 2), (0.0, 1.0))) is None
