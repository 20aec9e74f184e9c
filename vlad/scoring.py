"""Scoring a list of pictures: decode ahead, score in batches, one row for every picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image

from vlad.errors import ImageError, InputError
from vlad.images import read_image
from vlad.panel import Panel
from vlad.types import Sample

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
) -> Iterator[list[Scored]]:
    """Scores pictures batch by batch, in order; one that cannot be used comes with its error.

    Args:
        category: what pictures without a category of their own show.
        batch_size: pictures in one pass.
        open_image: path -> upright RGB picture; raises ImageError.
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
            yield _score(panel, batch, category)


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


def _score(panel: Panel, batch: list[_Read], category: str | None) -> list[Scored]:
    done = {i: Scored(r.sample, None, {}, {}, r.error) for i, r in enumerate(batch) if r.error}
    groups: dict[str | None, list[int]] = {}
    for i, item in enumerate(batch):
        if i not in done:
            groups.setdefault(item.sample.category or category, []).append(i)
    for name, members in groups.items():
        scores = panel.score([batch[i].pixels for i in members], name)
        scores = {head: found.numpy() for head, found in scores.items()}
        for place, i in enumerate(members):
            values = {head: float(found.image_score[place]) for head, found in scores.items()}
            maps = {head: found.anomaly_map[place] for head, found in scores.items()}
            bad = [head for head in maps if not np.isfinite(maps[head]).all()]
            error = f"{batch[i].sample.path}: {', '.join(bad)} gave no number" if bad else None
            if error:
                values, maps = {}, {}
            done[i] = Scored(batch[i].sample, batch[i].size, values, maps, error)
    return [done[i] for i in range(len(batch))]
