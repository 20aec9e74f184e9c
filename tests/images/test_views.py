"""Changed views of the backbone's input."""

import numpy as np
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image

from vlad.images import to_pixels
from vlad.images.views import altered


def test_views_are_those_of_anovl(parity):
    case = parity.case("anovl_views")
    image = Image.fromarray(case["picture_u8"][0])
    look = (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
    pixels = torch.from_numpy(to_pixels(image, 48, *look))[None]
    found = torch.cat(list(altered(pixels)))
    np.testing.assert_allclose(found, case["views"].astype(np.float32), atol=1e-3, rtol=0)


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
