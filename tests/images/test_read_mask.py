"""Masks from files and folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlad.errors import ImageError
from vlad.images import read_mask

RGB = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def mask_file(path: Path, mask):
    """The same mask, stored in whatever way the name says."""
    if path.stem == "rgba":
        Image.fromarray(np.dstack([np.full((*mask.shape, 3), 200), mask * 255]).astype("u1")).save(
            path
        )
    elif path.stem == "palette":
        image = Image.fromarray(mask.astype(np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 128, 0, 0])
        image.save(path)
    else:
        values = {"bit": mask, "faint": mask * np.uint8(1), "deep": mask * np.uint16(7)}
        Image.fromarray(values[path.stem]).save(path)


@pytest.mark.parametrize("name", ["bit.png", "faint.png", "deep.png", "palette.png", "rgba.png"])
def test_mask_is_whatever_is_not_black(tmp_path, name):
    mask = RGB[..., 0] > 200
    mask_file(tmp_path / name, mask)
    got = read_mask(tmp_path / name)
    assert got.dtype == bool and np.array_equal(got, mask)
    assert np.array_equal(read_mask(tmp_path / name, (40, 50)), mask)


def test_mask_is_resized_bilinearly_then_halved(tmp_path):
    mask = np.zeros((40, 80), bool)
    mask[10:30, 20:60] = True
    Image.fromarray(mask).save(tmp_path / "a.png")
    half = read_mask(tmp_path / "a.png", (20, 40))
    assert half.shape == (20, 40) and np.array_equal(half, mask[::2, ::2])
    mask[:] = False
    mask[20, 40] = True  # less than half of any coarser pixel
    Image.fromarray(mask).save(tmp_path / "a.png")
    assert not read_mask(tmp_path / "a.png", (20, 40)).any()


def test_missing_mask_is_an_image_error(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_mask(tmp_path / "a_mask.png")


def test_mask_in_several_files_is_their_union(tmp_path):
    whole = RGB[..., 0] > 200
    left, right = whole.copy(), whole.copy()
    left[:, 30:], right[:, :20] = False, False
    (tmp_path / "readme.txt").touch()
    for name, mask in [("000.png", left), ("001.png", right), (".2.png", RGB)]:
        Image.fromarray(np.uint8(mask) * 100).save(tmp_path / name)
    assert left.any() and right.any() and np.array_equal(read_mask(tmp_path), whole)
    half = read_mask(tmp_path, (20, 25))
    Image.fromarray(whole).save(tmp_path / "whole.png")
    assert np.array_equal(half, read_mask(tmp_path / "whole.png", (20, 25)))


@pytest.mark.parametrize("sizes", [[], [(40, 50), (50, 40)]])
def test_folders_that_are_no_mask(tmp_path, sizes):
    for i, size in enumerate(sizes):
        Image.fromarray(np.zeros(size, bool)).save(tmp_path / f"{i}.png")
    with pytest.raises(ImageError, match="put PNG masks of one size"):
        read_mask(tmp_path)
