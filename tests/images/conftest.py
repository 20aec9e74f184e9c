"""What the tests of image files share."""

import numpy as np
import pytest

from vlad.images import read_image


@pytest.fixture
def pixels():
    """(path, options of `read_image`) -> its RGB values (H, W, 3)."""

    def read(path, **options):
        image = read_image(path, **options)
        assert image.mode == "RGB"
        return np.asarray(image).astype(int)

    return read
