"""The pool of clean images: drawn categories, and real images where folders are given.

A category is two images of the same kind of thing (``a`` and ``b``), the coverage of the object
in ``a`` and the bare ground under it.  Category ``c`` of seed ``s`` is always the same.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tiny.objects import OBJECT_NOUNS, draw_object
from vlad.synthetic.noise import SIZE
from vlad.synthetic.textures import TEXTURES

COLOURS = {
    "black": (0.06, 0.06, 0.06),
    "dark": (0.2, 0.2, 0.2),
    "gray": (0.45, 0.45, 0.45),
    "silver": (0.68, 0.68, 0.68),
    "white": (0.92, 0.92, 0.92),
    "red": (0.6, 0.15, 0.12),
    "pink": (0.85, 0.55, 0.6),
    "orange": (0.85, 0.5, 0.2),
    "brown": (0.36, 0.24, 0.15),
    "beige": (0.75, 0.66, 0.5),
    "yellow": (0.8, 0.75, 0.25),
    "green": (0.25, 0.5, 0.25),
    "olive": (0.4, 0.4, 0.18),
    "cyan": (0.35, 0.65, 0.65),
    "blue": (0.2, 0.3, 0.6),
    "purple": (0.45, 0.25, 0.55),
}
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def colour_name(image, cover):
    """The word for the mean colour of the covered pixels."""
    mean = (image * cover[..., None]).sum((0, 1)) / (cover.sum() + 1e-3)
    return min(COLOURS, key=lambda name: ((mean - np.array(COLOURS[name])) ** 2).sum())


def draw_category(index, seed=0):
    """Draw category ``index``.

    Returns:
        ``(block, noun, colour)``: ``block`` uint8 (n, n, 10) holding a, b, ground (RGB each) and
        the coverage of the object in a.
    """
    first = np.random.default_rng([seed, index])
    style_seed = int(first.integers(2**31))
    shots = [np.random.default_rng([seed, index, k]) for k in (1, 2)]
    if first.random() < 0.45:
        texture = list(TEXTURES)[first.integers(len(TEXTURES))]
        a, b = (np.clip(texture(np.random.default_rng(style_seed), s), 0, 1) for s in shots)
        cover = np.ones((SIZE, SIZE), np.float32)
        ground = np.broadcast_to(first.random(3).astype(np.float32), a.shape)
        nouns = TEXTURES[texture]
    else:
        a, cover, ground, kind = draw_object(np.random.default_rng(style_seed), shots[0])
        b = draw_object(np.random.default_rng(style_seed), shots[1])[0]
        nouns = OBJECT_NOUNS[kind]
    noun = nouns[first.integers(len(nouns))]
    block = np.concatenate([a, b, ground, cover[..., None]], 2)
    return np.rint(block * 255).astype(np.uint8), noun, colour_name(a, cover)


class Pool:
    """Drawn categories, kept in one memory-mapped file so that every run draws them once.

    Args:
        folder: where the file lies; it is filled here if missing or unfinished.
        count: categories.
        workers: processes that draw.
    """

    def __init__(self, folder, count, seed=0, workers=2):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / f"drawn-{seed}-{count}"
        self.blocks, words = stem.with_suffix(".npy"), stem.with_suffix(".json")
        if not words.exists():
            self._fill(count, seed, workers, words)
        self.words = json.loads(words.read_text())
        self.count = count
        self._map = None

    def _fill(self, count, seed, workers, words):
        shape = (count, SIZE, SIZE, 10)
        blocks = np.lib.format.open_memmap(self.blocks, "w+", np.uint8, shape)
        said = []
        with ProcessPoolExecutor(workers) as pool:
            drawn = pool.map(partial(draw_category, seed=seed), range(count), chunksize=8)
            for index, (block, noun, shade) in enumerate(drawn):
                blocks[index] = block
                said.append([noun, shade])
        blocks.flush()
        words.write_text(json.dumps(said))

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        """``(a, b, ground, cover, noun, colour)``, images float32 in [0, 1]."""
        if self._map is None:
            self._map = np.load(self.blocks, mmap_mode="r")
        block = self._map[index].astype(np.float32) / 255
        return block[..., :3], block[..., 3:6], block[..., 6:9], block[..., 9], *self.words[index]


class RealImages:
    """Real images, as clean grounds for drawn defects and, where masks exist, as they are.

    Args:
        folders: each either a category in MVTec's layout (``train/good``, ``test/<defect>``,
            ``ground_truth/<defect>/<stem>_mask.png``) or a plain folder of clean images.  The
            folder's name is the noun.
    """

    def __init__(self, folders):
        self.clean, self.flawed = [], []
        for folder in map(Path, folders):
            noun = folder.name.replace("_", " ")
            for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
                parts = path.relative_to(folder).parts
                if "ground_truth" in parts:
                    continue
                mask = folder / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
                if mask.exists():
                    self.flawed.append((self._read(path), self._read(mask, "L"), noun))
                elif "test" not in parts or "good" in parts:
                    self.clean.append((self._read(path), None, noun))

    @staticmethod
    def _read(path, mode="RGB"):
        image = Image.open(path).convert(mode)
        scale = 384 / min(image.size)
        size = [max(SIZE, round(side * scale)) for side in image.size]
        return np.asarray(image.resize(size, Image.BILINEAR if mode == "L" else Image.BICUBIC))

    def pair(self, rng):
        """Two windows of one clean image, a few pixels apart: like :meth:`Pool.__getitem__`."""
        image, _, noun = self.clean[rng.integers(len(self.clean))]
        at = self._corner(rng, image)
        moved = self._corner(rng, image, at, 24)
        a, b = (self._crop(image, corner) for corner in (at, moved))
        cover = np.ones((SIZE, SIZE), np.float32)
        ground = np.broadcast_to(rng.random(3).astype(np.float32), a.shape)
        return a, b, ground, cover, noun, colour_name(a, cover)

    def labelled(self, rng):
        """``(image, mask, noun, colour)`` from the images with real defects, window on one."""
        image, mask, noun = self.flawed[rng.integers(len(self.flawed))]
        spots = np.argwhere(mask > 127)
        at = self._corner(rng, image)
        if len(spots):
            at = spots[rng.integers(len(spots))] - rng.integers(40, SIZE - 40, 2)
        at = np.clip(at, 0, np.array(image.shape[:2]) - SIZE)
        a, m = self._crop(image, at), self._crop(mask, at)
        return a, (m > 0.5).astype(np.float32), noun, colour_name(a, 1 - m)

    @staticmethod
    def _corner(rng, image, at=None, reach=0):
        room = np.array(image.shape[:2]) - SIZE
        if at is None:
            return rng.integers(0, room + 1)
        return np.clip(at + rng.integers(-reach, reach + 1, 2), 0, room)

    @staticmethod
    def _crop(image, at):
        y, x = at
        return image[y : y + SIZE, x : x + SIZE].astype(np.float32) / 255
