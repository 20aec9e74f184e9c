"""What corruptions do to images, that masks follow them, and that they are the same each time."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlad.evaluation.corruptions import CORRUPTIONS, corrupted, corrupted_mask

PATH = Path("set", "nut", "test", "good", "0.png")
SIZE = (120, 80)


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    tiles = rng.integers(60, 190, (8, 12, 3)).repeat(10, 0).repeat(10, 1)
    return Image.fromarray(tiles.astype(np.uint8))


def values(image):
    return np.asarray(image, float)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_one_image_is_corrupted_in_one_way(image, name):
    first = corrupted(name, image, PATH)
    assert first.size == SIZE and first.mode == "RGB"
    assert np.abs(values(first) - values(image)).mean() > 0.5
    assert values(corrupted(name, image, PATH)).tolist() == values(first).tolist()
    # wherever the data set lies
    other = corrupted(name, image, Path("elsewhere", "good", "0.png"))
    assert values(other).tolist() == values(first).tolist()


@pytest.mark.parametrize("name", ["brightness", "noise", "shift"])
def test_images_are_corrupted_in_different_ways(image, name):
    found = {corrupted(name, image, PATH.with_name(f"{i}.png")).tobytes() for i in range(20)}
    low, high = (2, 2) if name == "brightness" else (12, 20)
    assert low <= len(found) <= high


def test_how_strong_they_are(image):
    before = values(image)
    ratio = values(corrupted("brightness", image, PATH)) / before
    assert abs(ratio - 1).mean() == pytest.approx(0.3, abs=0.01)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=20)
    assert (values(Image.open(file)) == values(corrupted("jpeg", image, PATH))).all()
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    noise = values(corrupted("noise", grey, PATH)) - 128
    assert noise.std() == pytest.approx(0.08 * 255, rel=0.02) and abs(noise.mean()) < 0.3
    # an edge becomes the integral of a bell curve of 0.006 of the short side
    edge = np.zeros((500, 500, 3), np.uint8)
    edge[:, 250:] = 255
    row = values(corrupted("blur", Image.fromarray(edge), PATH))[250, :, 0] / 255
    steps, places = np.diff(row), np.arange(499)
    centre = (steps * places).sum()
    assert np.sqrt((steps * (places - centre) ** 2).sum()) == pytest.approx(3, rel=0.15)


def test_a_shift_moves_image_and_mask_alike():
    lengths = []
    for i in range(20):
        path = PATH.with_name(f"{i}.png")
        mask = np.zeros((200, 300), bool)
        mask[90:110, 140:170] = True
        image = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).convert("RGB")
        moved = corrupted_mask("shift", mask, path)
        assert (values(corrupted("shift", image, path))[..., 0] == 255 * moved).all()
        assert moved.sum() == mask.sum()
        rows, columns = (np.mean(np.nonzero(moved)[axis]) for axis in (0, 1))
        lengths.append(np.hypot((rows - 99.5) / 200, (columns - 154.5) / 300))
        for name in set(CORRUPTIONS) - {"shift"}:
            assert (corrupted_mask(name, mask, path) == mask).all()
    np.testing.assert_allclose(lengths, 0.05, atol=0.004)


def test_small_images():
    for name in CORRUPTIONS:
        assert corrupted(name, Image.new("RGB", (1, 2)), PATH).size == (1, 2)
