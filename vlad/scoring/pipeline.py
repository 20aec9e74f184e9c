"""Scoring a list of images: decode ahead, score tiles in batches, one row for every image."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
from PIL import Image

from vlad.errors import HeadError, ImageError
from vlad.heads import Pool
from vlad.images import read_image
from vlad.images.tiles import WHOLE, Box, Mosaic, Tiling
from vlad.scoring.panel import Panel
from vlad.types import Sample

READERS = 2  # decoding threads: enough to hide decoding behind the backbone


@dataclass(frozen=True)
class Scored:
    """What became of one image: scores and maps per head, or an error.

    Attributes:
        sample: the image.
        size: its (width, height), upright; None where it could not be read.
        scores: head -> image_score.
        maps: head -> (S, S) anomaly map, or (height, width) of an image cut into tiles.
        error: why there is none, or None.
    """

    sample: Sample
    size: tuple[int, int] | None
    scores: dict[str, float]
    maps: dict[str, np.ndarray]
    error: str | None = None

    def with_(self, other: Scored) -> Scored:
        """This and what other heads say of the same image."""
        scores, maps = {**self.scores, **other.scores}, {**self.maps, **other.maps}
        error = self.error or other.error
        return Scored(self.sample, self.size, {} if error else scores, {} if error else maps, error)


class Pools:
    """What transductive heads have collected of each category while the images went by.

    Args:
        tiling: how the images were cut; heads compare tiles.
    """

    def __init__(self, tiling: Tiling = WHOLE):
        self.tiling = tiling
        self.pools: dict[str | None, dict[str, Pool]] = {}
        self.members: dict[str | None, list[Scored]] = {}  # without scores and maps
        self.seconds: Counter[str] = Counter()  # of each head, in comparing

    @property
    def joint(self) -> bool:
        """Whether any head collected images."""
        return any(self.pools.values())

    def scores(self, progress: Callable[[int, int], None] | None = None) -> Iterator[list[Scored]]:
        """What those heads say of the images, batch by batch; each head comes by itself.

        Args:
            progress: called with the steps done and in all, for each head and category anew.
        """
        for category, pools in self.pools.items():
            for head, pool in pools.items():
                waiting = deque(self.members[category])
                mosaic = None
                start = time.perf_counter()
                try:
                    for scores in pool.scores(progress):
                        self.seconds[head] += time.perf_counter() - start
                        found = {head: scores.numpy()}
                        batch = []
                        for place in range(len(scores)):
                            mosaic = mosaic or Mosaic(waiting[0].size, self.tiling)
                            mosaic.add(found, place)
                            if mosaic.complete:
                                member = waiting.popleft()
                                batch.append(
                                    member if member.error else _finite(member.sample, mosaic)
                                )
                                mosaic = None
                        if batch:
                            yield batch
                        start = time.perf_counter()
                except HeadError as error:  # the other heads' scores stand
                    yield [Scored(s.sample, s.size, {}, {}, str(error)) for s in waiting]


def check_pools(panel: Panel, samples: Iterable[Sample], category: str | None) -> None:
    """Whether there are images enough for the heads that judge a list jointly.

    One image may do where it is cut into tiles, which shows only when it is read.

    Raises:
        HeadError: only one image of a category.
    """
    if panel.tiling.tile is not None:
        return
    counts = Counter(sample.category or category for sample in samples)
    for name in panel.transductive:
        for of, count in counts.items():
            if count < 2:
                which = f" of category {of}" if of else ""
                raise HeadError(
                    f"Head {name} compares images with each other, and there is only one{which}; "
                    "give it more of them, or choose another head."
                )


@dataclass(frozen=True, eq=False)
class _Read:
    """An image read: its image and where what heads say of it is put together, or an error."""

    sample: Sample
    mosaic: Mosaic | None = None
    image: Image.Image | None = None  # while tiles of it are still to be prepared
    pixels: dict | None = None  # of an image that is one tile
    error: str | None = None


def score_samples(
    panel: Panel,
    samples: Iterable[Sample],
    category: str | None,
    *,
    batch_size: int,
    open_image: Callable[..., Image.Image] = read_image,
    pools: Pools | None = None,
) -> Iterator[list[Scored]]:
    """Scores images batch by batch, in order; one that cannot be used comes with its error.

    Args:
        category: what images without a category of their own show.
        batch_size: tiles in one pass; an image that the panel does not cut is one.
        open_image: path -> upright RGB image; raises ImageError.
        pools: where transductive heads collect; their scores come from it afterwards.
    """

    def read(sample: Sample) -> _Read:
        try:
            image = open_image(sample.path)
        except ImageError as error:
            return _Read(sample, error=str(error))
        mosaic = Mosaic(image.size, panel.tiling)
        if len(mosaic.boxes) > 1:
            return _Read(sample, mosaic, image)
        return _Read(sample, mosaic, pixels=panel.prepare(image))

    def tiles(found: Iterable[_Read]) -> Iterator[tuple[_Read, dict | None]]:
        for one in found:
            if one.image is None:
                yield one, one.pixels
                continue
            cut = partial(_prepare_tile, panel, one.image)
            for pixels in ahead(pool, cut, one.mosaic.boxes, 2 * batch_size):
                yield one, pixels

    # images of many tiles wait at full size, so fewer of them
    depth = 2 * batch_size if panel.tiling.tile is None else READERS
    with ThreadPoolExecutor(READERS) as pool:
        waiting = tiles(ahead(pool, read, samples, depth))
        while batch := list(islice(waiting, batch_size)):
            if done := _score(panel, batch, category, pools):
                yield done


def _prepare_tile(panel: Panel, image: Image.Image, box: Box) -> dict:
    return panel.prepare(image.crop(box))


def ahead(pool: ThreadPoolExecutor, work: Callable, items: Iterable, depth: int) -> Iterator:
    """`map` in threads, in order, at most `depth` items ahead of what is taken."""
    waiting: deque[Future] = deque()
    items = iter(items)
    try:
        waiting.extend(pool.submit(work, item) for item in islice(items, depth))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(items, 1))
    finally:
        for future in waiting:
            future.cancel()


def _score(
    panel: Panel,
    batch: list[tuple[_Read, dict | None]],
    category: str | None,
    pools: Pools | None,
) -> list[Scored]:
    """Scores tiles -> the images that have their last tile among them."""
    groups: dict[str | None, list[tuple[_Read, dict]]] = {}
    for one, pixels in batch:
        if one.error is None:
            groups.setdefault(one.sample.category or category, []).append((one, pixels))
    for name, tiles in groups.items():
        collect = None if pools is None else pools.pools.setdefault(name, {})
        scores = panel.score([pixels for _, pixels in tiles], name, collect)
        found = {head: values.numpy() for head, values in scores.items()}
        for place, (one, _) in enumerate(tiles):
            one.mosaic.add(found, place)
    done = []
    for one in dict.fromkeys(one for one, _ in batch):
        if one.error is not None:
            done.append(Scored(one.sample, None, {}, {}, one.error))
        elif one.mosaic.complete:
            scored = _finite(one.sample, one.mosaic)
            done.append(scored)
            of = one.sample.category or category
            if pools is not None and pools.pools[of]:  # else nobody asks, and a row each adds up
                pools.members.setdefault(of, []).append(replace(scored, scores={}, maps={}))
    return done


def _finite(sample: Sample, mosaic: Mosaic) -> Scored:
    """What heads found of an image, or an error where that is no number."""
    scores, maps = mosaic.scores, mosaic.maps
    bad = [h for h in maps if not (np.isfinite(maps[h]).all() and np.isfinite(scores[h]))]
    if bad:
        return Scored(
            sample, mosaic.size, {}, {}, f"{sample.path}: {', '.join(bad)} gave no number"
        )
    return Scored(sample, mosaic.size, scores, maps)
