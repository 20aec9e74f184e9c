"""Writes pairs of images of which one has changed, in MVTec's layout, for `vlad train metauas`.

    cd tools && python -m metauas.changes --out DIR --pool DIR --leather DATA/leather/upholstery

Each category holds one normal image in ``train/good``, and in ``test`` the same thing seen again:
as it is, or changed, in windows of half its sides.  Things are drawn (`tiny.images`) or windows of
real images; changes are drawn defects, and objects that are inserted, removed or exchanged.
Category ``i`` of a seed is always the same.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from tiny.camera import Camera
from tiny.defects import add_defects
from tiny.images import Pool, RealImages

from vlad.backbones.tiny.model import SIDE

CHANGES = ("defects", "inserted", "removed", "exchanged")
SHARES = (0.55, 0.15, 0.15, 0.15)
WINDOW = 128  # pixels a side of what is written
VISIBLE = 0.02  # a pixel that moved by less has not changed


def main():
    read = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    read.add_argument("--out", type=Path, required=True)
    read.add_argument("--pool", type=Path, required=True, help="folder of the drawn categories")
    read.add_argument("--leather", type=Path, help="labelled images, used as real ones")
    read.add_argument("--drawn", type=int, default=1600, help="categories in the pool")
    read.add_argument("--count", type=int, default=900, help="categories to write")
    read.add_argument("--seed", type=int, default=1)
    given = read.parse_args()
    pool = Pool(given.pool, given.drawn, seed=1)
    real = Real(given.leather) if given.leather else None
    for index in range(given.count):
        write(given.out / f"c{index:04}", index, pool, real, given.seed)


class Real(RealImages):
    """Windows of real images, sound ones and ones on a defect."""

    def __init__(self, folder):
        super().__init__([folder])

    def sound(self, rng):
        """Two windows without a defect, at most 24 pixels apart; None if they were not found."""
        image, mask, _ = self.flawed[rng.integers(len(self.flawed))]
        for _ in range(50):
            at = self._corner(rng, image)
            moved = self._corner(rng, image, at, 24)
            if not any(self._crop(mask, corner).any() for corner in (at, moved)):
                return self._crop(image, at), self._crop(image, moved)
        return None

    def flaw(self, rng):
        """A window on a defect and its mask, and one of the same image without any, or None."""
        image, mask, _ = self.flawed[rng.integers(len(self.flawed))]
        spots = np.argwhere(mask > 127)
        for _ in range(50):
            away = self._corner(rng, image)
            if len(spots) and not self._crop(mask, away).any():
                at = spots[rng.integers(len(spots))] - rng.integers(40, SIDE - 40, 2)
                at = np.clip(at, 0, np.array(image.shape[:2]) - SIDE)
                return self._crop(image, at), self._crop(mask, at) > 0.5, self._crop(image, away)
        return None


def write(folder, index, pool, real, seed):
    """The images of a category."""
    rng = np.random.default_rng([seed, index])
    camera = Camera.draw(rng, SIDE)
    clean = np.zeros((SIDE, SIDE), np.float32)
    kind = rng.random()
    if real and kind < 0.1 and (found := real.flaw(rng)):
        a, mask, b = found
        pairs = [("real", a, mask, b)]
    else:
        found = real.sound(rng) if real and kind < 0.25 else None
        if found:
            a, b = found
            cover, ground = np.ones_like(clean), np.broadcast_to(rng.random(3), a.shape)
        else:
            a, b, ground, cover, *_ = pool[rng.integers(len(pool))]
        pairs = [("good", a, clean, b)]
        for change in rng.choice(CHANGES, 2, p=SHARES):
            pairs.append((change, *changed(rng, change, a, b, cover, ground, pool)))
    for number, (kind, query, mask, prompt) in enumerate(pairs):
        own = folder.with_name(f"{folder.name}{'abc'[number]}")
        query, mask = camera.shoot(rng, query, np.float32(mask))
        prompt, _ = camera.shoot(rng, prompt, clean)
        cut(own, np.random.default_rng([seed, index, number]), kind, query, mask > 0.5, prompt)


def cut(folder, rng, kind, query, mask, prompt):
    """Windows of a pair, at the same place in both: one on a change, if there is one, and another.

    A training on windows sees four times as many pairs in the same time, at the same scale.
    """
    spots = np.argwhere(mask)
    for number in range(2):
        at = rng.integers(0, SIDE - WINDOW + 1, 2)
        if len(spots) and number == 0:
            at = spots[rng.integers(len(spots))] - rng.integers(8, WINDOW - 8, 2)
            at = np.clip(at, 0, SIDE - WINDOW)
        here = np.s_[at[0] : at[0] + WINDOW, at[1] : at[1] + WINDOW]
        own = folder.with_name(f"{folder.name}{number}")
        seen = kind if mask[here].any() else "good"
        save(own / "test" / seen / "0.png", query[here])
        save(own / "train" / "good" / "0.png", prompt[here])
        if seen != "good":
            save(own / "ground_truth" / seen / "0_mask.png", np.uint8(mask[here]) * 255)


def changed(rng, change, a, b, cover, ground, pool):
    """``(query, mask, prompt)`` of a pair of sound images of the same thing."""
    if change == "defects":
        other = pool[rng.integers(len(pool))][0]
        query, mask, _ = add_defects(rng, a, cover, ground, other)
        return query, mask, b
    place = Place.draw(rng)
    one, two = (place.sticker(rng, pool) for _ in range(2))
    query = a if change == "removed" else put(a, *one)
    prompt = b if change == "inserted" else put(b, *two)
    # what is seen of either object, on either image
    mask = np.abs(query - put(a, *two) if change != "inserted" else query - a).max(2) > VISIBLE
    return query, mask, prompt


class Place:
    """Where an object lies, and how large it is."""

    def __init__(self, side, y, x):
        self.side, self.y, self.x = side, y, x

    @classmethod
    def draw(cls, rng):
        side = int(np.exp(rng.uniform(np.log(16), np.log(110))))
        return cls(side, *rng.integers(0, SIDE - side, 2))

    def sticker(self, rng, pool):
        """``(colours, coverage)`` of another thing, or of a piece of it, at this place."""
        image, _, _, cover, *_ = pool[rng.integers(len(pool))]
        size = (self.side, self.side)
        small = Image.fromarray(np.uint8(image * 255)).resize(size, Image.BILINEAR)
        shape = Image.fromarray(np.float32(cover)).resize(size, Image.BILINEAR)
        if cover.min() > 0.5:  # a texture fills its image: a round piece of it
            y, x = np.mgrid[-1 : 1 : self.side * 1j, -1 : 1 : self.side * 1j]
            shape = np.clip((1 - np.hypot(x, y * rng.uniform(1, 3))) * self.side / 4, 0, 1)
        colours, alpha = (
            np.zeros((SIDE, SIDE, 3), np.float32),
            np.zeros((SIDE, SIDE, 1), np.float32),
        )
        here = np.s_[self.y : self.y + self.side, self.x : self.x + self.side]
        colours[here], alpha[here] = np.asarray(small) / 255, np.asarray(shape)[..., None]
        return colours, alpha


def put(image, colours, alpha):
    """An image with an object on it."""
    return np.float32(image + (colours - image) * alpha)


def save(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


if __name__ == "__main__":
    main()
