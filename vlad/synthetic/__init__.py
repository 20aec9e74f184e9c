"""Synthetic defects drawn on normal images, with exact masks.

    generators = load_generators(["scratch", "stain"])
    drawn, mask, words = generators["scratch"](image, Sources(others), rng)

    training = SyntheticSet("good/", seed=0)
    item = training.item(index, epoch)      # image, mask, label, defect, words

`vlad.synthetic.canvas` defines a generator; a new one needs a function and a line in GENERATORS, or
an entry point of another package in the group "vlad.synthetic".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vlad.datasets.folder import list_images
from vlad.errors import InputError
from vlad.images import read_image
from vlad.synthetic.canvas import Defect, Sources
from vlad.system import plugins
from vlad.system.text import instead
from vlad.types import Sample

# name -> "module:function", imported on request
GENERATORS = {
    "cutpaste": "vlad.synthetic.cutpaste:cutpaste",
    "cutpaste_scar": "vlad.synthetic.cutpaste:cutpaste_scar",
    "perlin": "vlad.synthetic.perlin:perlin",
    "poisson": "vlad.synthetic.poisson:poisson",
    "scratch": "vlad.synthetic.scratch:scratch",
    "stain": "vlad.synthetic.stain:stain",
    "missing": "vlad.synthetic.missing:missing",
    "colour": "vlad.synthetic.colour:colour",
}

Generator = Callable[[np.ndarray, Sources, np.random.Generator], Defect]


def load_generators(names: Iterable[str] | None = None) -> dict[str, Generator]:
    """Generators by name; None gives all of ours.

    Raises:
        InputError: no name or an unknown name.
    """
    chosen = list(dict.fromkeys(GENERATORS if names is None else names))
    if not chosen:
        raise InputError(f"no generator given; choose from {', '.join(generator_names())}.")
    found = {name: plugins.load("vlad.synthetic", name, GENERATORS) for name in chosen}
    for name, generator in found.items():
        if generator is None:
            raise InputError(f"unknown generator {name!r}{instead(name, generator_names())}")
    return found


def generator_names() -> list[str]:
    """Names of all generators, ours and those of installed packages."""
    return plugins.names("vlad.synthetic", GENERATORS)


@dataclass(frozen=True)
class SyntheticItem:
    """One training image.

    Attributes:
        image: RGB, at the size of its file.
        mask: (H, W) bool, true on the defect; all false without one.
        label: 1 with a defect, 0 without.
        defect: the name of its generator; "good" without a defect.
        words: the defect in a caption, such as "a scratch"; "" without one.
    """

    image: Image.Image
    mask: np.ndarray
    label: int
    defect: str
    words: str


class SyntheticSet:
    """Normal images, some with a synthetic defect: a training set that needs no labels.

    Item i of epoch e depends only on the arguments, e and i, not on the order of access or the
    process. The set is picklable and reads files only in `item`.

    Args:
        normals: the normal images, or a folder of them; labels are ignored.
        generators: names of the defects to draw, equally often; None takes all.
        seed: seed of everything random.
        share: share of the items with a defect, from 0 to 1.
        textures: images of foreign materials for the generators that use them.
        open_image: path -> upright RGB image; raises ImageError.

    Raises:
        InputError: no images, an unknown generator, a share out of range, or a negative seed.
    """

    def __init__(
        self,
        normals: Sequence[Sample] | str | os.PathLike,
        generators: Iterable[str] | None = None,
        seed: int = 0,
        share: float = 0.5,
        *,
        textures: Sequence[Sample] = (),
        open_image: Callable[[Path], Image.Image] = read_image,
    ):
        if isinstance(normals, str | os.PathLike):
            normals = list_images(normals)
        if not len(normals):
            raise InputError("`normals` is empty; give normal images to draw defects on.")
        if not 0 <= share <= 1:
            raise InputError(f"the share of images with a defect is {share}; give 0 to 1.")
        if seed < 0:
            raise InputError(f"the seed is {seed}; give 0 or more.")
        self.generators = load_generators(generators)
        self.normals, self.textures = list(normals), list(textures)
        self.seed, self.share = seed, share
        self.open_image = open_image

    def __len__(self) -> int:
        return len(self.normals)

    def item(self, index: int, epoch: int = 0) -> SyntheticItem:
        """Image `index` (from 0) as it appears in epoch `epoch`.

        Unreadable images to borrow from are skipped.

        Raises:
            ImageError: the image itself is unreadable.
            IndexError: there is no such image.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there is no image {index} among {len(self)}")
        image = self.open_image(self.normals[index].path)
        rng = np.random.default_rng([self.seed, epoch, index])
        if rng.random() >= self.share:
            return SyntheticItem(image, np.zeros(image.size[::-1], bool), 0, "good", "")
        name = list(self.generators)[rng.integers(len(self.generators))]
        others = [*self.normals[:index], *self.normals[index + 1 :]]
        sources = Sources(*(_Files(s, self.open_image) for s in (others, self.textures)))
        drawn, mask, words = self.generators[name](np.asarray(image), sources, rng)
        return SyntheticItem(Image.fromarray(drawn), mask, 1, name, words)


class _Files(Sequence):
    """Image files as arrays, each read on access."""

    def __init__(self, samples: Sequence[Sample], open_image: Callable[[Path], Image.Image]):
        self.samples, self.open_image = samples, open_image

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index):
        return np.asarray(self.open_image(self.samples[index].path))


__all__ = [
    "GENERATORS",
    "Generator",
    "Sources",
    "SyntheticItem",
    "SyntheticSet",
    "generator_names",
    "load_generators",
]
