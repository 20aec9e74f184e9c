"""From pools of images to training batches, every one a function of the seed and its number."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tiny.camera import Camera
from tiny.defects import add_defects

SIDE = 240


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


def _same(item):
    return item


@dataclass
class Batch:
    """``pixels`` uint8 (2P, side, side, 3), the a's then the b's; ``mask`` (2P, side, side) in
    [0, 1]; ``names`` 2P captions."""

    pixels: torch.Tensor
    mask: torch.Tensor
    names: list


class Replay:
    """Batches from a sliding window over the pairs, since drawing one costs more than a pass.

    At step s the window holds the last ``capacity`` of the first ``start + fresh·s`` pairs, so that
    a resumed run sees what an unbroken one would.

    Args:
        fresh: new pairs per step.
        count: pairs per batch.
    """

    def __init__(self, pairs, step, capacity=1500, start=300, fresh=4, count=16, workers=1):
        self.seed, self.capacity, self.count = pairs.seed, capacity, count
        self.end = lambda s: start + fresh * s
        first = max(0, self.end(step) - capacity)
        order = range(first, len(pairs))
        loader = DataLoader(
            pairs,
            batch_size=None,
            sampler=order,
            num_workers=workers,
            prefetch_factor=64 if workers else None,
            collate_fn=_same,
        )
        self.held, self.next, self.stream = {}, first, iter(loader)

    def batch(self, step):
        """The batch of a step; steps must be asked for in order."""
        end = self.end(step)
        while self.next < end:
            self.held[self.next] = next(self.stream)
            self.held.pop(self.next - self.capacity, None)
            self.next += 1
        rng = np.random.default_rng([self.seed, 2, step])
        low = max(0, end - self.capacity)
        chosen = [self.held[i] for i in rng.choice(np.arange(low, end), self.count, replace=False)]
        a, mask, b = (np.stack([np.asarray(pair[k]) for pair in chosen]) for k in range(3))
        turned = [self._vary(rng, *pair) for pair in zip(a, mask, b, strict=True)]
        a, mask, b = (np.stack(part) for part in zip(*turned, strict=True))
        return Batch(
            pixels=torch.from_numpy(np.concatenate([a, b])),
            mask=torch.from_numpy(np.concatenate([mask, np.zeros_like(mask)])).float() / 255,
            names=[pair[3][0] for pair in chosen] + [pair[3][1] for pair in chosen],
        )

    @staticmethod
    def _vary(rng, a, mask, b):
        """Turn, mirror and re-light a pair, both images alike."""
        turns, mirror = int(rng.integers(4)), rng.random() < 0.5
        gain = np.exp(rng.normal(0, 0.1, 3)) if rng.random() < 0.5 else np.ones(3)

        def move(x):
            x = np.rot90(x, turns)
            return x[:, ::-1] if mirror else x

        def light(x):
            return np.uint8(np.clip(move(x) * gain, 0, 255))

        return light(a), move(mask).copy(), light(b)
