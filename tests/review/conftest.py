"""A detector, and images that people reviewed."""

import numpy as np
import pytest
from PIL import Image

import vlad
from vlad.review.labels import Label
from vlad.scoring.record import digest_of


@pytest.fixture
def parts(tmp_path):
    """Files by name: 24 good ones, g0 to g23, unlike each other, and 12 with a stain, s0 to s11."""
    folder, files = tmp_path / "parts", {}
    folder.mkdir()
    for place in range(36):
        random = np.random.default_rng(place)
        y, x = np.mgrid[0:64, 0:64]
        bumps = 100 + 40 * np.sin(x / (5 + place % 7)) * np.cos(y / (4 + place % 5))
        pixels = np.stack([bumps + random.normal(0, 8, (64, 64)) for _ in range(3)], -1)
        if place >= 24:
            pixels[20:40, 10 + place % 20 : 35 + place % 20] = random.uniform(0, 255, 3)
        name = f"g{place}" if place < 24 else f"s{place - 24}"
        files[name] = folder / f"{name}.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(files[name])
    return files


@pytest.fixture
def fitted(small_file, parts):
    """Makes a detector fitted on g0 and g1, whose threshold is from g2 to g8."""

    def make(head="memory", **options):
        made = vlad.load(head, backbone=str(small_file), device="cpu", **options)
        made.fit([parts["g0"], parts["g1"]])
        return made.calibrate([parts[f"g{i}"] for i in range(2, 9)], false_alarms=0.25)

    return make


@pytest.fixture
def label(parts):
    """Makes the label of a file by its name, defective for those with a stain."""

    def make(name, word="", **more):
        word = word or ("good" if name.startswith("g") else "defective")
        return Label(str(parts[name]), word, digest=digest_of(parts[name]), **more)

    return make


@pytest.fixture
def is_aside(parts):
    """Tells of a name whether its file is one of the fourth that is set aside."""
    return lambda name: int(digest_of(parts[name]), 16) % 4 == 0
