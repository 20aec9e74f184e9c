"""Views of normal images."""

import numpy as np
import torch
from PIL import Image

from vlad.images.normals import Altered
from vlad.images.views import altered


def test_altered_views_are_those_of_the_pixels_rounded():
    drawn = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    views = list(Altered()(Image.fromarray(drawn)))
    pixels = torch.from_numpy(drawn).permute(2, 0, 1)[None].float()
    expected = list(altered(pixels, align_corners=False))
    assert len(views) == len(expected) == 22
    np.testing.assert_array_equal(views[0], drawn)
    for view, plain in zip(views, expected, strict=True):
        rounded = plain[0].permute(1, 2, 0).round().numpy()
        np.testing.assert_array_equal(view, rounded.astype(np.uint8))
    assert Altered() == Altered()  # heads that want them share passes
