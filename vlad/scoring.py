"""Scoring a list of pictures: decode ahead, score in batches, one row for every picture."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from PIL import Image

from vlad.errors import HeadError, ImageError, InputError
from vlad.heads import Pool
from vlad.images import read_image
from vlad.panel import Panel
from vlad.types import Sample, Scores

READERS = 2  # decoding threads: enough to hide decoding behind the tower


@dataclass(frozen=True)
class Scored:
    """What became of one picture: scores and maps per head, or an error.

    Attributes:
        sample: the picture.
        size: its (width, height), upright; None where it could not be read.
        scores: head -> image_score.
        maps: head -> (S, S) anomaly map.
        error: why there is none, or None.
    """

    sample: Sample
    size: tuple[int, int] | None
    scores: dict[str, float]
    maps: dict[str, np.ndarray]
    error: str | None = None

    def with_(self, other: Scored) -> Scored:
        """This and what other heads say of the same picture."""
        scores, maps = {**self.scores, **other.scores}, {**self.maps, **other.maps}
        error = self.error or other.error
        return Scored(self.sample, self.size, {} if error else scores, {} if error else maps, error)


class Pools:
    """What transductive heads have collected of each category while the pictures went by."""

    def __init__(self) -> None:
        self.pools: dict[str | None, dict[str, Pool]] = {}
        self.members: dict[str | None, list[Scored]] = {}
        self.seconds: Counter[str] = Counter()  # of each head, in comparing

    @property
    def joint(self) -> bool:
        """Whether any head collected pictures."""
        return any(self.pools.values())

    def scores(self, progress: Callable[[int, int], None] | None = None) -> Iterator[list[Scored]]:
        """What those heads say of the pictures, batch by batch; each head comes by itself.

        Args:
            progress: called with the steps done and in all, for each head and category anew.
        """
        for category, pools in self.pools.items():
            for head, pool in pools.items():
                waiting = deque(self.members[category])
                start = time.perf_counter()
                try:
                    for scores in pool.scores(progress):
                        self.seconds[head] += time.perf_counter() - start
                        found = scores.numpy()
                        batch = [waiting.popleft() for _ in range(len(found))]
                        yield [
                            s if s.error else _finite(s.sample, s.size, {head: found}, place)
                            for place, s in enumerate(batch)
                        ]
                        start = time.perf_counter()
                except HeadError as error:  # the other heads' scores stand
                    yield [Scored(s.sample, s.size, {}, {}, str(error)) for s in waiting]


def check_pools(panel: Panel, samples: Iterable[Sample], category: str | None) -> None:
    """Whether there are pictures enough for the heads that judge a list jointly.

    Raises:
        HeadError: only one picture of a category.
    """
    counts = Counter(sample.category or category for sample in samples)
    for name in panel.transductive:
        for of, count in counts.items():
            if count < 2:
                which = f" of category {of}" if of else ""
                raise HeadError(
                    f"Head {name} compares pictures with each other, and there is only one{which}; "
                    "give it more of them, or choose another head."
                )


@dataclass(frozen=True)
class _Read:
    sample: Sample
    size: tuple[int, int] | None
    pixels: dict | None
    error: str | None


def draw_shots(samples: Sequence[Sample], k_shot: int | None, seed: int) -> list[Sample]:
    """`k_shot` of the normal pictures, drawn without replacement; None takes them all.

    Raises:
        InputError: fewer pictures than shots.
    """
    if k_shot is None:
        return list(samples)
    if k_shot > len(samples):
        raise InputError(
            f"{k_shot} normal pictures were asked for but only {len(samples)} are given; lower "
            "k_shot or give more of them."
        )
    drawn = np.random.default_rng(seed).choice(len(samples), size=k_shot, replace=False)
    return [samples[i] for i in sorted(drawn)]


def score_samples(
    panel: Panel,
    samples: Iterable[Sample],
    category: str | None,
    *,
    batch_size: int,
    open_image: Callable[..., Image.Image] = read_image,
    pools: Pools | None = None,
) -> Iterator[list[Scored]]:
    """Scores pictures batch by batch, in order; one that cannot be used comes with its error.

    Args:
        category: what pictures without a category of their own show.
        batch_size: pictures in one pass.
        open_image: path -> upright RGB picture; raises ImageError.
        pools: where transductive heads collect; their scores come from it afterwards.
    """

    def read(sample: Sample) -> _Read:
        try:
            image = open_image(sample.path)
            return _Read(sample, image.size, panel.prepare(image), None)
        except ImageError as error:
            return _Read(sample, None, None, str(error))

    with ThreadPoolExecutor(READERS) as pool:
        found = _ahead(pool, read, samples, 2 * batch_size)
        while batch := list(islice(found, batch_size)):
            yield _score(panel, batch, category, pools)


def _ahead(pool: ThreadPoolExecutor, work: Callable, items: Iterable, depth: int) -> Iterator:
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
    panel: Panel, batch: list[_Read], category: str | None, pools: Pools | None
) -> list[Scored]:
    done = {i: Scored(r.sample, None, {}, {}, r.error) for i, r in enumerate(batch) if r.error}
    groups: dict[str | None, list[int]] = {}
    for i, item in enumerate(batch):
        if i not in done:
            groups.setdefault(item.sample.category or category, []).append(i)
    for name, members in groups.items():
        collect = None if pools is None else pools.pools.setdefault(name, {})
        scores = panel.score([batch[i].pixels for i in members], name, collect)
        found = {head: values.numpy() for head, values in scores.items()}
        for place, i in enumerate(members):
            done[i] = _finite(batch[i].sample, batch[i].size, found, place)
        if pools is not None:
            # until all are compared, without the maps of the other heads
            waiting = (replace(done[i], scores={}, maps={}) for i in members)
            pools.members.setdefault(name, []).extend(waiting)
    return [done[i] for i in range(len(batch))]


def _finite(
    sample: Sample, size: tuple[int, int] | None, found: dict[str, Scores], place: int
) -> Scored:
    """What heads found at one place of a batch, or an error where that is no number."""
    values = {head: float(scores.image_score[place]) for head, scores in found.items()}
    maps = {head: scores.anomaly_map[place] for head, scores in found.items()}
    bad = [h for h in maps if not (np.isfinite(maps[h]).all() and np.isfinite(values[h]))]
    if bad:
        return Scored(sample, size, {}, {}, f"{sample.path}: {', '.join(bad)} gave no number")
    return Scored(sample, size, values, maps)
