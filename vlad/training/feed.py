"""Choose the images of each step and batch them, all determined by the seed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from PIL import Image

from vlad.images.masks import lost_regions, resize_mask
from vlad.scoring.ahead import ahead, readers
from vlad.scoring.extractor import Extractor
from vlad.training.cache import Cache, Cached, rounded, together
from vlad.training.data import Data, Item, Source
from vlad.types import Features, FeatureSpec


@dataclass(frozen=True)
class Place:
    """One image in an epoch: its source, its index there and its position in the order."""

    source: int
    index: int
    epoch: int
    position: int


@dataclass(frozen=True)
class Part:
    """The part of a step's batch that one process runs at once.

    Attributes:
        step: step in its epoch, from 0.
        places: its images.
        share: its share of the batch; 0 for a part that only keeps processes in step.
        batch: number of images in the step.
    """

    step: int
    places: Sequence[Place]
    share: float
    batch: Sequence[Place]


@dataclass(frozen=True)
class Batch:
    """B images for a head to learn from.

    Attributes:
        features: from the backbone's pass, if no learned tensor enters it.
        prepared: otherwise, their pixels from `Extractor.prepare`.
        labels: (B,) 0.0 or 1.0.
        masks: (B, S, S) 0.0 or 1.0.
        masked: (B,) bool, whether an image has a mask.
        categories: the category of each.
        normals: features of a normal image of the same category for each, if the head learns from
            such pairs.
    """

    features: Features | None
    prepared: Sequence[dict]
    labels: torch.Tensor
    masks: torch.Tensor
    masked: torch.Tensor
    categories: Sequence[str]
    normals: Features | None = None


@dataclass(frozen=True)
class _Fetched:
    place: Place
    label: int
    cached: Cached | None
    prepared: dict  # empty where the features are cached
    mask: np.ndarray | None
    key: str | None
    normal: _Fetched | None = None  # the one it is paired with


def epoch_order(
    sources: Sequence[Source], epoch: int, seed: int, shuffle: bool = True
) -> list[Place]:
    """All images of an epoch; a source of weight 2.5 appears twice and half of it again.

    The half is redrawn every epoch.

    Args:
        shuffle: False keeps the order of the sources and of their images.
    """
    random = np.random.default_rng([seed, epoch])
    drawn: list[tuple[int, int]] = []  # source, index
    for number, source in enumerate(sources):
        count = len(source.samples)
        times, rest = divmod(source.weight, 1)
        drawn += [(number, index) for _ in range(int(times)) for index in range(count)]
        some = random.choice(count, round(rest * count), replace=False)
        drawn += [(number, int(index)) for index in some]
    order = random.permutation(len(drawn)) if shuffle else range(len(drawn))
    places = (drawn[i] for i in order)
    return [Place(source, i, epoch, at) for at, (source, i) in enumerate(places)]


def split(
    order: Sequence[Place], batch_size: int, parts: int, rank: int = 0, ranks: int = 1
) -> Iterator[Part]:
    """The parts that one process runs, `parts` per step.

    With their shares, the mean over all parts and processes equals that of the whole batch.
    """
    total = parts * ranks
    for step, start in enumerate(range(0, len(order), batch_size)):
        batch = order[start : start + batch_size]
        edges = [round(i * len(batch) / total) for i in range(total + 1)]
        for i in range(rank * parts, (rank + 1) * parts):
            places = batch[edges[i] : edges[i + 1]]
            yield Part(step, places or batch[:1], len(places) / len(batch), batch)


class Feed:
    """Turn places into batches, reading ahead in threads.

    Args:
        data: the data to learn from.
        extractor, spec: the pixels and features that the head needs.
        cache: cache of features; None if they depend on learned tensors.
        mosaic: probability of combining an image with three others of its category.
        seed: seed of the mosaics and of the normal images in pairs.
        mask_above: as in `Recipe`.
    """

    def __init__(
        self,
        data: Data,
        extractor: Extractor,
        spec: FeatureSpec,
        cache: Cache | None,
        mosaic: float = 0.0,
        seed: int = 0,
        mask_above: float = 0.5,
    ):
        self.data, self.extractor, self.spec, self.cache = data, extractor, spec, cache
        self.mosaic, self.seed, self.mask_above = mosaic, seed, mask_above
        self.side = extractor.size(spec)
        patch = extractor.backbone.info.patch_size
        self.grid = (self.side // patch, self.side // patch)
        # source and category -> candidates for a mosaic, and for a pair
        self.alike, self.normal = _by_category(data.sources), _by_category(data.normals)

    def batches(self, parts: Sequence[Part]) -> Iterator[tuple[Part, Batch]]:
        """Yield each part with its batch.

        Raises:
            ImageError: an image can no longer be read.
        """
        places = [place for part in parts for place in part.places]
        largest = max((len(part.places) for part in parts), default=1)
        with ThreadPoolExecutor(readers(self.extractor.backbone.device)) as pool:
            found = ahead(pool, self.fetch, places, 2 * largest)
            for part in parts:
                yield part, self.batch(list(islice(found, len(part.places))))

    def fetch(self, place: Place) -> _Fetched:
        """An image's features from the cache, or its pixels; thread-safe."""
        found = self._fetch(self.data.sources[place.source], place, self._others(place))
        if not self.data.normals:
            return found
        beside = replace(place, index=self._normal_of(place))
        return replace(found, normal=self._fetch(self.data.normals[place.source], beside, []))

    def _fetch(self, source: Source, place: Place, others: Sequence[int]) -> _Fetched:
        key = None if others else source.key(place.index)
        if self.cache and key and (cached := self.cache.read(key)):
            label = int(bool(source.samples[place.index].label))
            return _Fetched(place, label, cached, {}, cached.mask, key)
        items = [source.item(index, place.epoch) for index in (place.index, *others)]
        item = mosaic(items) if others else items[0]
        size = (self.side, self.side)
        mask = None if item.mask is None else resize_mask(item.mask, size, self.mask_above)
        if item.mask is not None and mask is not None and lost_regions(item.mask, mask):
            warnings.warn(
                f"Some defects are too thin for {self.side}×{self.side} pixels, and their pixels "
                "count as normal in the training; raise the image size",
                stacklevel=1,
            )
        prepared = self.extractor.prepare(item.image, [self.spec])
        return _Fetched(place, item.label, None, prepared, mask, key)

    def batch(self, fetched: Sequence[_Fetched]) -> Batch:
        """One batch; features missing from the cache are computed and stored."""
        features = normals = None
        if self.cache is not None:
            features = self._features(fetched, self.cache)
            beside = [f.normal for f in fetched if f.normal]
            normals = self._features(beside, self.cache) if beside else None
        device = self.extractor.backbone.device
        empty = np.zeros((self.side, self.side), bool)
        masks = np.stack([empty if f.mask is None else f.mask for f in fetched])
        samples = [self.data.sources[f.place.source].samples[f.place.index] for f in fetched]
        return Batch(
            features=features,
            prepared=[] if features else [f.prepared for f in fetched],
            labels=torch.tensor([float(f.label) for f in fetched], device=device),
            masks=torch.from_numpy(masks).to(device).float(),
            masked=torch.tensor([f.mask is not None for f in fetched], device=device),
            categories=[sample.category or "" for sample in samples],
            normals=normals,
        )

    @torch.no_grad()
    def _features(self, fetched: Sequence[_Fetched], cache: Cache) -> Features:
        tensors = [f.cached.tensors if f.cached else {} for f in fetched]
        fresh = [i for i, found in enumerate(tensors) if not found]
        device = self.extractor.backbone.device
        # one by one on the CPU, at no cost: a product's size changes how it is summed, and a
        # resumed training must not depend on what was cached before
        step = 1 if device.type == "cpu" else len(fresh)
        for start in range(0, len(fresh), max(1, step)):
            chosen = fresh[start : start + step]
            (features,) = self.extractor.extract([fetched[i].prepared for i in chosen], [self.spec])
            for i, found in zip(chosen, rounded(features), strict=True):
                tensors[i] = found
                if key := fetched[i].key:
                    cache.write(key, Cached(found, fetched[i].mask))
        batch = together(tensors, self.spec, self.grid, (self.side, self.side), device)
        return replace(batch, weights=self.extractor.weights(self.spec))

    def _others(self, place: Place) -> list[int]:
        """The other images in an image's mosaic; empty without one."""
        random = np.random.default_rng([self.seed, place.epoch, place.position, 1])
        if random.random() >= self.mosaic:
            return []
        sample = self.data.sources[place.source].samples[place.index]
        return random.choice(self.alike[place.source, sample.category], 3).tolist()

    def _normal_of(self, place: Place) -> int:
        """The normal image that an image is paired with in this epoch: another, if there is one."""
        random = np.random.default_rng([self.seed, place.epoch, place.position, 2])
        sample = self.data.sources[place.source].samples[place.index]
        known = self.normal[place.source, sample.category]
        samples = self.data.normals[place.source].samples
        others = [index for index in known if samples[index].path != sample.path]
        return int(random.choice(others or known))


def _by_category(sources: Sequence[Source]) -> dict[tuple[int, str | None], list[int]]:
    """(number of a source, category) -> indices of its images."""
    found: dict[tuple[int, str | None], list[int]] = {}
    for number, source in enumerate(sources):
        for index, sample in enumerate(source.samples):
            found.setdefault((number, sample.category), []).append(index)
    return found


def mosaic(items: Sequence[Item]) -> Item:
    """One image made of four quarters, each at the size of the first.

    It is anomalous if any of them is, and has a mask if all have one.
    """
    width, height = items[0].image.size
    image = Image.new("RGB", (2 * width, 2 * height))
    mask = np.zeros((2 * height, 2 * width), bool)
    for number, item in enumerate(items):
        y, x = (number // 2) * height, (number % 2) * width
        image.paste(item.image.resize((width, height), Image.Resampling.BICUBIC), (x, y))
        if item.mask is not None:
            mask[y : y + height, x : x + width] = resize_mask(item.mask, (height, width))
    whole = all(item.mask is not None for item in items)
    return Item(image, mask if whole else None, max(item.label for item in items))
