"""Changed views of the backbone's input."""

import numpy as np
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image
from scipy.ndimage import map_coordinates

from vlad.images import to_pixels
from vlad.images.views import altered


def test_views_are_those_of_anovl(parity):
    case = parity.case("anovl_views")
    image = Image.fromarray(case["picture_u8"][0])
    look = (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
    pixels = torch.from_numpy(to_pixels(image, 48, *look))[None]
    found = torch.cat(list(altered(pixels)))
    np.testing.assert_allclose(found, case["views"].astype(np.float32), atol=1e-3, rtol=0)


def test_views_are_those_of_inp_former(parity):
    case = parity.case("inpformer_augment")
    pixels = torch.from_numpy(case["x"])[None]
    found = torch.cat(list(altered(pixels, align_corners=False)))
    np.testing.assert_allclose(found, case["augmented"], atol=5e-6, rtol=0)


def test_views_of_one_image_do_not_depend_on_others():
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    together, alone = list(altered(pixels)), list(altered(pixels[1:2]))
    assert len(together) == 22
    for one, two in zip(together, alone, strict=True):
        torch.testing.assert_close(one[1:2], two)


def test_a_bright_corner_moves_as_the_image_is_turned():
    pixels = torch.zeros(1, 3, 8, 8)
    pixels[..., 0, 7] = 1  # top right
    quarters = list(altered(pixels))[-3:]
    corners = [(0, 0), (7, 0), (7, 7)]  # counter-clockwise
    for view, (row, column) in zip(quarters, corners, strict=True):
        assert view[0, 0, row, column] == 1
        assert view.sum() == 3


def test_views_against_a_plain_computation():
    """Rotations and shifts as maps of places, without a border; grey as a weighted sum."""
    image = np.random.default_rng(0).normal(size=(3, 21, 21)).astype(np.float32)
    found = [view[0].numpy() for view in altered(torch.from_numpy(image)[None])]
    y, x = np.mgrid[-1:1:21j, -1:1:21j]

    def at(across, down):
        places = [(down + 1) * 10, (across + 1) * 10]
        return np.stack([map_coordinates(c, places, order=1, mode="mirror") for c in image])

    sixteenths = (-4, -3, -2, -1, 1, 2, 3, 4)
    angles = [np.pi * n / 16 for n in sixteenths]
    expected = [at(x * np.cos(a) - y * np.sin(a), x * np.sin(a) + y * np.cos(a)) for a in angles]
    for s in (0.2, 0.1):
        expected += [at(x + s * i, y + s * j) for i, j in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
    expected += [image[..., ::-1]]
    expected += [3 * [0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]]]
    np.testing.assert_array_equal(found[0], image)
    for view, plain in zip(found[1:], expected, strict=False):
        np.testing.assert_allclose(view, plain, atol=1e-4)
