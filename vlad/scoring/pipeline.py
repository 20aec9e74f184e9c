"""The scoring loop: read ahead, cut, score in batches, and give one result per image."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np
from PIL import Image

from vlad.errors import HeadError, ImageError, VladError
from vlad.heads import Head, Pool
from vlad.images.tiles import WHOLE, Box, Mosaic, Tiling
from vlad.scoring.ahead import READERS, ahead, fetched, readers
from vlad.scoring.boxes import with_found_boxes
from vlad.scoring.inside import Inside
from vlad.scoring.panel import Panel
from vlad.scoring.prepared import Cut, Prepared, prepare
from vlad.scoring.seen import Light, Look, light_of
from vlad.scoring.transfer import Download, download
from vlad.system.torch_state import step_by_step
from vlad.types import Sample, Seen

if TYPE_CHECKING:
    import torch

    from vlad.backbones.transformers.boxes import BoxModel


class Item(Protocol):
    """What can be scored: a `Sample`, or whatever else knows these two.

    Attributes:
        path: its name in errors.
        category: what it shows, or None.
    """

    @property
    def path(self) -> object: ...

    @property
    def category(self) -> str | None: ...


T = TypeVar("T", bound=Item)


@dataclass(frozen=True)
class Scored(Generic[T]):
    """What became of one image: scores and maps of each head, or an error.

    Attributes:
        sample: the image.
        size: its (width, height), upright; None if it could not be read.
        scores: head -> image_score; with a region of interest the maximum of the map inside it.
        maps: head -> (S, S) anomaly map, or (height, width) of an image cut into tiles.
        failure: why it has no scores, or None.
        kinds: head -> the known kind of defect that it is nearest to, "" for none; of heads that
            know some.
        seen: how it looks as a whole; None without scores, or if an earlier command kept it.
    """

    sample: T
    size: tuple[int, int] | None
    scores: dict[str, float] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    failure: VladError | None = None
    kinds: dict[str, str] = field(default_factory=dict)
    seen: Seen | None = None

    @property
    def error(self) -> str | None:
        """The failure as a sentence."""
        return None if self.failure is None else str(self.failure)


class Pools(Generic[T]):
    """What transductive heads have collected from the images of each category.

    Args:
        tiling: how the images were cut; heads compare tiles.

    Attributes:
        inside: the region of interest of the panel that fills it.
    """

    def __init__(self, tiling: Tiling = WHOLE):
        self.tiling = tiling
        self.inside = Inside()
        self.pools: dict[str | None, dict[str, Pool]] = {}
        self.members: dict[str | None, list[Scored[T]]] = {}  # without scores and maps
        self.seconds: defaultdict[str, float] = defaultdict(float)  # of each head, in comparing

    @property
    def joint(self) -> bool:
        """Whether any head collected images."""
        return any(self.pools.values())

    def scores(
        self, progress: Callable[[int, int], None] | None = None
    ) -> Iterator[list[Scored[T]]]:
        """The scores of the images, batch by batch, one head after the other.

        Args:
            progress: called with the steps done and in all, for each head and category.
        """
        for category, pools in self.pools.items():
            for head, pool in pools.items():
                waiting = deque(self.members[category])
                mosaic = None
                start = time.perf_counter()
                try:
                    for scores in step_by_step(pool.scores(progress)):
                        found = {head: scores.numpy()}  # which waits for a GPU
                        self.seconds[head] += time.perf_counter() - start
                        batch = []
                        for place in range(len(scores)):
                            mosaic = mosaic or _mosaic(waiting[0], self.tiling)
                            mosaic.add(found, place)
                            if mosaic.complete:
                                member = waiting.popleft()
                                if member.failure is None:
                                    member = _checked(member.sample, mosaic, {}, self.inside)
                                batch.append(member)
                                mosaic = None
                        if batch:
                            yield batch
                        start = time.perf_counter()
                except HeadError as error:  # the other heads' scores stand
                    yield [replace(member, failure=error) for member in waiting]


def check_pools(panel: Panel, samples: Iterable[Sample]) -> None:
    """Check that the heads that judge a list jointly are given enough images.

    One image may be enough if it is cut into tiles, which is known once it is read.

    Raises:
        HeadError: only one image of a category.
    """
    if panel.tiling.tile is not None:
        return
    counts = Counter(sample.category for sample in samples)
    for name in panel.transductive:
        for of, count in counts.items():
            if count < 2:
                which = f" of category {of}" if of else ""
                raise HeadError(
                    f"Head {name} compares images with each other, but there is only one{which}; "
                    "give it more, or choose another head."
                )


def score_samples(
    panel: Panel,
    samples: Iterable[Sample],
    *,
    batch_size: int,
    open_image: Callable[..., Image.Image],
    pools: Pools[Sample] | None = None,
    box_model: BoxModel | None = None,
) -> Iterator[list[Scored[Sample]]]:
    """`score_items` for image files.

    Args:
        open_image: path -> upright RGB image; raises ImageError.
        box_model: finds the boxes of the images, for the heads that use some.
    """
    if box_model and any(head.boxes for head in panel.heads.values()):
        samples = with_found_boxes(panel, samples, box_model, open_image)
    return score_items(
        panel,
        samples,
        batch_size=batch_size,
        open_item=lambda sample: open_image(sample.path),
        pools=pools,
    )


def score_items(
    panel: Panel,
    items: Iterable[T],
    *,
    batch_size: int,
    open_item: Callable[[T], Image.Image | Prepared],
    pools: Pools[T] | None = None,
) -> Iterator[list[Scored[T]]]:
    """Score images batch by batch, in order; an image that cannot be used comes with its error.

    Args:
        batch_size: tiles in one pass; an image that the panel does not cut is one.
        open_item: an item -> its upright RGB image, or what `prepare` made of it; called in other
            threads; raises ImageError.
        pools: what transductive heads collect in; their scores come from it afterwards.
    """

    def read(item: T) -> tuple[_Read[T], Iterable[_Lit] | Cut]:
        try:
            image = open_item(item)
            prepared = image if isinstance(image, Prepared) else prepare(panel, image, item.path)
        except ImageError as error:
            return _Read(item, failure=error), ()
        tiles: Iterable[_Lit] | Cut
        if isinstance(prepared.tiles, list):  # a whole image, looked at in this thread
            tiles = [lit(pixels) for pixels in prepared.tiles]
        elif isinstance(prepared.tiles, Cut):
            tiles = prepared.tiles
        else:
            tiles = map(lit, prepared.tiles)
        return _Read(item, Mosaic(prepared.size, panel.tiling)), tiles

    def lit(pixels: dict) -> _Lit:
        return pixels, light_of(panel.extractor, pixels)

    def at(cut: Cut, box: Box) -> _Lit:
        return lit(cut.at(box))

    def tiles(
        found: Iterable[tuple[_Read[T], Iterable[_Lit] | Cut]],
    ) -> Iterator[tuple[_Read[T], _Lit | None]]:
        for one, parts in found:
            if one.failure is not None:
                yield one, None
                continue
            if isinstance(parts, Cut):
                parts = ahead(threads, partial(at, parts), parts.boxes, 2 * batch_size)
            for tile in parts:
                yield one, tile

    device = panel.backbone.device
    # images cut into tiles wait at full size, so fewer of them
    depth = 2 * batch_size if panel.tiling.tile is None else READERS
    with ThreadPoolExecutor(readers(device)) as threads:
        waiting = tiles(ahead(threads, read, items, depth))
        batches = iter(lambda: list(islice(waiting, batch_size)), [])
        launched = (_launch(panel, batch, pools) for batch in batches)
        yield from filter(None, fetched(launched, device))


_Lit = tuple[dict, Light]  # the pixels of a tile, and how bright and sharp they are


@dataclass(frozen=True, eq=False)
class _Read(Generic[T]):
    """An image that was read: the mosaic of its tiles' scores, or a failure."""

    item: T
    mosaic: Mosaic | None = None
    failure: VladError | None = None
    look: Look = field(default_factory=Look)


def _launch(
    panel: Panel, batch: Sequence[tuple[_Read[T], _Lit | None]], pools: Pools[T] | None
) -> Callable[[], list[Scored[T]]]:
    """Begin to score tiles; the function waits for it, and gives the images whose last tile is
    among them. It holds no pixels."""
    groups: dict[str | None, list[tuple[_Read[T], Mosaic, _Lit]]] = {}
    for one, tile in batch:
        if one.mosaic is not None and tile is not None:
            groups.setdefault(one.item.category, []).append((one, one.mosaic, tile))
    begun = []
    for category, tiles in groups.items():
        collect = None if pools is None else pools.pools.setdefault(category, {})
        # what a service scores has no boxes
        boxes = [getattr(one.item, "boxes", ()) for one, _, _ in tiles]
        looks: list[torch.Tensor] = []
        pixels = [pixels for _, _, (pixels, _) in tiles]
        scores = panel.score(pixels, category, collect, boxes, looks)
        places = [(one, mosaic, light) for one, mosaic, (_, light) in tiles]
        begun.append((places, download(scores, looks[0] if looks else None)))
    return partial(_finish, panel, list(dict.fromkeys(one for one, _ in batch)), begun, pools)


def _finish(
    panel: Panel,
    images: Sequence[_Read[T]],
    begun: Sequence[tuple[Sequence[tuple[_Read[T], Mosaic, Light]], Download]],
    pools: Pools[T] | None,
) -> list[Scored[T]]:
    """Wait for the scores of tiles; return the images whose last tile is among them."""
    for places, arrays in begun:
        found, embedded = arrays()
        for place, (one, mosaic, light) in enumerate(places):
            mosaic.add(found, place)
            one.look.add(light, None if embedded is None else embedded[place])
    done = []
    for one in images:
        category = one.item.category
        if one.mosaic is None:
            done.append(Scored(one.item, None, failure=one.failure))
        elif one.mosaic.complete:
            scored = _checked(one.item, one.mosaic, panel.heads, panel.inside, one.look.seen)
            done.append(scored)
            if pools is not None and pools.pools[category]:  # else no pool will score it
                pools.inside = panel.inside
                bare = replace(scored, scores={}, maps={}, seen=None)
                pools.members.setdefault(category, []).append(bare)
    return done


def _mosaic(member: Scored, tiling: Tiling) -> Mosaic:
    assert member.size is not None  # it was read
    return Mosaic(member.size, tiling)


def _checked(
    item: T, mosaic: Mosaic, heads: Mapping[str, Head], inside: Inside, seen: Seen | None = None
) -> Scored[T]:
    """The scores of an image in its region of interest, or a failure if one is not finite."""
    scores, maps = inside(mosaic.scores, mosaic.maps)
    bad = [h for h in maps if not (np.isfinite(maps[h]).all() and np.isfinite(scores[h]))]
    if bad:
        failure = ImageError(
            f"{item.path}: {', '.join(bad)} gave no finite score; remove it or choose another head."
        )
        for head, why in mosaic.errors.items():
            failure = ImageError(
                f"{item.path}: no score of {head} ({why}); score it again, or leave {head} out."
            )
        return Scored(item, mosaic.size, failure=failure)
    kinds = {
        name: head.known[place] if (place := mosaic.kinds[name]) >= 0 else ""
        for name, head in heads.items()
        if name in mosaic.kinds
    }
    return Scored(item, mosaic.size, scores, maps, kinds=kinds, seen=seen)
