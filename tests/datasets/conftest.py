"""Trees of files for the readers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def fill():
    """Makes empty files of these names below a folder and returns it."""

    def make(folder, names):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        return folder

    return make


@pytest.fixture
def draw():
    """Writes a mask of 8 × 8 pixels, black or with one pixel of defect."""

    def make(path, defect):
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((8, 8), np.uint8)
        mask[3, 5] = defect
        Image.fromarray(mask).save(path)

    return make
