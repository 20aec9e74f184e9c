"""Labelled sets for the commands that measure."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


def save(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def category(drawn):
    """Fills a folder in MVTec layout with drawn pictures: 4 for reference, `normal` to score and
    the two with a stain at rows 30-50, columns 40-70."""

    def fill(folder, normal):
        for i in range(4):
            save(drawn[i], folder / "train" / "good" / f"{i}.png")
        for i in range(normal):
            save(drawn[i].rotate(180), folder / "test" / "good" / f"{i}.png")
        for i in (4, 5):
            save(drawn[i], folder / "test" / "stain" / f"{i}.png")
            mask = np.zeros(drawn[i].size[::-1], np.uint8)
            mask[30:50, 40:70] = 255
            save(Image.fromarray(mask), folder / "ground_truth" / "stain" / f"{i}_mask.png")

    return fill
