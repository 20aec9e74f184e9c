"""From pools of images to pairs for training, every one a function of the seed and its number."""

import numpy as np
from torch.utils.data import Dataset

from tiny.camera import Camera
from tiny.defects import add_defects
from vlad.backbones.tiny.model import SIDE


class Pairs(Dataset):
    """Pair ``i``: an image that may be damaged, its mask, and a sound one of the same category.

    Args:
        pool: drawn categories.
        real: real images, or None.
        length: how many pairs there are.
    """

    def __init__(self, pool, real, seed, length):
        self.pool, self.real, self.seed, self.length = pool, real, seed, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        """``(a, mask, b, names)``: uint8 arrays (side, side[, 3]) and two captions."""
        rng = np.random.default_rng([self.seed, 1, index])
        kind = rng.random()
        if self.real and self.real.flawed and kind < 0.1:
            a, mask, *words = self.real.labelled(rng)
            b, *_, noun, shade = self._clean(rng)
            words = [(words[0], words[1]), (noun, shade)]
        else:
            a, b, ground, cover, noun, shade = self._clean(rng)
            words, mask = [(noun, shade)] * 2, np.zeros(a.shape[:2], np.float32)
            if rng.random() < 0.85:
                other = self.pool[rng.integers(len(self.pool))][0]
                a, mask, _ = add_defects(rng, a, cover, ground, other)
        camera = Camera.draw(rng, SIDE)
        a, mask = camera.shoot(rng, a, mask.astype(np.float32))
        b, _ = camera.shoot(rng, b, np.zeros(b.shape[:2], np.float32))
        names = [f"a photo of a {shade} {noun}." for noun, shade in words]
        return a, np.uint8(mask * 255), b, names

    def _clean(self, rng):
        if self.real and self.real.clean and rng.random() < 0.15:
            return self.real.pair(rng)
        return self.pool[rng.integers(len(self.pool))]
