"""Metrics of heads on a labelled data set, all heads from one pass over its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from vlad.backbones.tower import Tower
from vlad.errors import HeadError, ImageError, InputError
from vlad.heads import Head, protocol
from vlad.images import DEFAULT_MAX_PIXELS, read_image
from vlad.metrics import evaluate
from vlad.panel import Panel
from vlad.pixels import PixelTally, mask_of
from vlad.progress import Progress
from vlad.scoring import Pools, Scored, check_pools, draw_shots, score_samples
from vlad.tiles import WHOLE, Tiling
from vlad.types import Sample

# shots of a head that cannot do without normal pictures, where none are asked for
DEFAULT_SHOTS = 4


@dataclass(frozen=True)
class Entry:
    """A head to be measured, and the normal pictures it is shown before.

    Attributes:
        name: of the head, as results name it.
        head: new; it is fitted here.
        k_shot: how many normal pictures are drawn for it; 0 is none.
        seed: of the draw.
    """

    name: str
    head: Head
    k_shot: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """Metrics of one head on one category.

    Attributes:
        category, head, k_shot, seed: of what.
        protocol: what its figures may be compared with, as `vlad.heads.protocol` says it.
        metrics: name -> value in [0, 1], as `vlad.metrics.evaluate` gives them.
        references: the normal pictures it was shown.
        errors: path -> why a picture was left out.
        image_size: pixels a side of the tower's input.
        pictures: how many were scored.
        head_seconds: a picture, in the head alone.
        tower_seconds: a picture, in the tower for all heads measured together.
    """

    category: str
    head: str
    k_shot: int
    seed: int
    protocol: str
    metrics: Mapping[str, float]
    references: Sequence[str] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    image_size: int = 0
    pictures: int = 0
    head_seconds: float = 0.0
    tower_seconds: float = 0.0


def evaluate_category(
    tower: Tower,
    entries: Sequence[Entry],
    category: str,
    train: Sequence[Sample],
    test: Sequence[Sample],
    *,
    bank: str | None = None,
    image_size: int | None = None,
    batch_size: int = 8,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    bits: int = 16,
    tiling: Tiling = WHOLE,
) -> list[Result]:
    """Fits heads on normal pictures of a category and measures them on its test pictures.

    All heads are measured in one pass over the test pictures, whatever they were shown.

    Args:
        max_pixels, bits: as in `vlad.images.read_image`.
        tiling: how pictures and references are cut. Pixel metrics of pictures cut into tiles are
            those of maps and masks at the size of each picture.

    Raises:
        InputError: no picture can be used, or fewer normal pictures than shots.
        HeadError: no shots for a head that needs normal pictures, or a single test picture for
            one that compares them with each other.
    """
    for entry in entries:
        if entry.head.normals == "needed" and not entry.k_shot:
            raise HeadError(
                f"Head {entry.name} compares with normal pictures; raise --k-shot above 0."
            )
    open_image = partial(read_image, max_pixels=max_pixels, bits=bits)
    named = {_key(entry, entries): entry for entry in entries}
    panel = Panel(
        tower,
        {key: entry.head for key, entry in named.items()},
        bank=bank,
        image_size=image_size,
        batch_size=batch_size,
        tiling=tiling,
    )
    for key in named:
        panel.text(key, category)
    drawn = {(e.k_shot, e.seed): draw_shots(train, e.k_shot, e.seed) for e in entries if e.k_shot}
    for shots, references in drawn.items():
        keys = [key for key, entry in named.items() if (entry.k_shot, entry.seed) == shots]
        panel.fit((open_image(sample.path) for sample in references), keys)
    check_pools(panel, test, category)

    scored: dict[str, Scored] = {}
    pools = Pools(tiling)
    # maps at the size of large pictures are not kept
    pixels = None if tiling.tile is None else PixelTally(test, max_pixels)
    panel.seconds.clear()
    with Progress(len(test), verb=f"{category}: scored") as progress:
        for batch in score_samples(
            panel, test, category, batch_size=batch_size, open_image=open_image, pools=pools
        ):
            batch = [pixels.take(s) for s in batch] if pixels else batch
            scored.update((s.sample.id, s) for s in batch)
            progress.advance(len(batch), failed=sum(s.error is not None for s in batch))
    if pools.joint:
        with Progress(0, verb=f"{category}: compared", unit="parts") as progress:
            for batch in pools.scores(progress.reach):
                batch = [pixels.take(s) for s in batch] if pixels else batch
                scored.update((s.sample.id, scored[s.sample.id].with_(s)) for s in batch)
    metrics, errors = measure(list(scored.values()), list(named), max_pixels)
    if pixels:
        metrics = {key: {**found, **pixels.metrics(key)} for key, found in metrics.items()}
    count = max(1, len(scored) - len(errors))
    return [
        Result(
            category=category,
            head=entry.name,
            k_shot=entry.k_shot,
            seed=entry.seed,
            protocol=protocol(entry.head),
            metrics=metrics[key],
            references=[str(s.path) for s in drawn.get((entry.k_shot, entry.seed), ())],
            errors=errors,
            image_size=panel.extractor.size(panel.specs[key]),
            pictures=len(scored) - len(errors),
            head_seconds=(panel.seconds[key] + pools.seconds[key]) / count,
            tower_seconds=panel.seconds["tower"] / count,
        )
        for key, entry in named.items()
    ]


def _key(entry: Entry, entries: Sequence[Entry]) -> str:
    """A name for an entry that no other one has."""
    if sum(other.name == entry.name for other in entries) == 1:
        return entry.name
    return f"{entry.name} with {entry.k_shot} shots of seed {entry.seed}"


def shots_of(head: Head, k_shot: int | None) -> int:
    """How many normal pictures a head is shown where `k_shot` are asked for.

    None shows `DEFAULT_SHOTS` to the heads that need some and none to the others.
    """
    if k_shot is None:
        return DEFAULT_SHOTS if head.normals == "needed" else 0
    return 0 if head.normals == "unused" else k_shot


def measure(
    scored: Sequence[Scored], heads: Sequence[str], max_pixels: int = DEFAULT_MAX_PIXELS
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Metrics per head, at the size of the maps, and the pictures left out with their errors.

    Pixel metrics are given where any defect has a mask and there are maps.

    Raises:
        InputError: no picture can be used.
    """
    errors = {str(s.sample.path): s.error for s in scored if s.error}
    good = [s for s in scored if not s.error]
    masks: list[np.ndarray] | None = None
    if any(s.sample.mask for s in good if s.maps):
        masks, readable = [], []
        for s in good:
            size = next(iter(s.maps.values())).shape
            try:
                masks.append(mask_of(s.sample, size, max_pixels))
                readable.append(s)
            except ImageError as error:
                errors[str(s.sample.path)] = str(error)
        good = readable
    if not good:
        raise InputError(f"No test picture could be used; the first: {next(iter(errors.values()))}")
    labels = [s.sample.label for s in good]
    found = {}
    for head in heads:
        maps = None if masks is None else np.stack([s.maps[head] for s in good])
        found[head] = evaluate([s.scores[head] for s in good], labels, maps, masks)
    return found, errors


def mean(results: Sequence[Result]) -> dict[str, float]:
    """The mean of each metric over the results that have it, as data sets are summarised."""
    names = dict.fromkeys(name for r in results for name in r.metrics)
    return {n: float(np.mean([r.metrics[n] for r in results if n in r.metrics])) for n in names}
