"""Metrics of heads on a labelled data set, all heads from one pass over its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from vlad.backbones.tower import Tower
from vlad.errors import HeadError, ImageError, InputError
from vlad.heads import Head, protocol
from vlad.images import DEFAULT_MAX_PIXELS, read_image, read_mask
from vlad.metrics import evaluate
from vlad.panel import Panel
from vlad.progress import Progress
from vlad.scoring import Pools, Scored, check_pools, draw_shots, score_samples
from vlad.types import Sample

# shots of a head that cannot do without normal pictures, where none are asked for
DEFAULT_SHOTS = 4


@dataclass(frozen=True)
class Result:
    """Metrics of one head on one category.

    Attributes:
        category, head: of what.
        k_shot: how many normal pictures the head was shown.
        protocol: what its figures may be compared with, as `vlad.heads.protocol` says it.
        metrics: name -> value in [0, 1], as `vlad.metrics.evaluate` gives them.
        references: the normal pictures it was shown.
        errors: path -> why a picture was left out.
    """

    category: str
    head: str
    k_shot: int
    protocol: str
    metrics: Mapping[str, float]
    references: Sequence[str]
    errors: Mapping[str, str]


def evaluate_category(
    tower: Tower,
    heads: Mapping[str, Head],
    category: str,
    train: Sequence[Sample],
    test: Sequence[Sample],
    *,
    k_shot: int | None = None,
    seed: int = 0,
    bank: str | None = None,
    image_size: int | None = None,
    batch_size: int = 8,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    bits: int = 16,
) -> list[Result]:
    """Fits heads on k normal pictures of a category and measures them on its test pictures.

    Args:
        k_shot: normal pictures shown to every head with use for them; 0 is none. None shows
            `DEFAULT_SHOTS` to the heads that need some and none to the others.
        seed: of the draw of those pictures.
        max_pixels, bits: as in `vlad.images.read_image`.

    Raises:
        InputError: no picture can be used, or fewer normal pictures than shots.
        HeadError: zero shots for a head that needs normal pictures, or a single test picture for
            one that compares them with each other.
    """
    shown = [name for name, head in heads.items() if takes_shots(head, k_shot)]
    for name, head in heads.items():
        if head.normals == "needed" and name not in shown:
            raise HeadError(f"Head {name} compares with normal pictures; raise --k-shot above 0.")
    open_image = partial(read_image, max_pixels=max_pixels, bits=bits)
    panel = Panel(tower, heads, bank=bank, image_size=image_size, batch_size=batch_size)
    for name in heads:
        panel.text(name, category)
    references = draw_shots(train, (k_shot or DEFAULT_SHOTS) if shown else 0, seed)
    if shown:
        panel.fit((open_image(sample.path) for sample in references), shown)
    check_pools(panel, test, category)

    scored: dict[str, Scored] = {}
    pools = Pools()
    with Progress(len(test), verb=f"{category}: scored") as progress:
        for batch in score_samples(
            panel, test, category, batch_size=batch_size, open_image=open_image, pools=pools
        ):
            scored.update((s.sample.id, s) for s in batch)
            progress.advance(len(batch), failed=sum(s.error is not None for s in batch))
    if pools.joint:
        with Progress(0, verb=f"{category}: compared", unit="parts") as progress:
            for batch in pools.scores(progress.reach):
                scored.update((s.sample.id, scored[s.sample.id].with_(s)) for s in batch)
    metrics, errors = measure(list(scored.values()), list(heads), max_pixels)
    return [
        Result(
            category,
            name,
            len(references) if name in shown else 0,
            protocol(heads[name]),
            metrics[name],
            [str(sample.path) for sample in references] if name in shown else [],
            errors,
        )
        for name in heads
    ]


def takes_shots(head: Head, k_shot: int | None) -> bool:
    """Whether a head is shown normal pictures where `k_shot` are asked for."""
    return head.normals != "unused" if k_shot else k_shot is None and head.normals == "needed"


def measure(
    scored: Sequence[Scored], heads: Sequence[str], max_pixels: int = DEFAULT_MAX_PIXELS
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Metrics per head, at the size of the maps, and the pictures left out with their errors.

    Pixel metrics are given where any defect has a mask.

    Raises:
        InputError: no picture can be used.
    """
    errors = {str(s.sample.path): s.error for s in scored if s.error}
    good = [s for s in scored if not s.error]
    masks: list[np.ndarray] | None = None
    if any(s.sample.mask for s in good):
        masks, readable = [], []
        for s in good:
            size = next(iter(s.maps.values())).shape
            try:
                masks.append(_mask(s.sample, size, max_pixels))
                readable.append(s)
            except ImageError as error:
                errors[str(s.sample.path)] = str(error)
        good = readable
    if not good:
        raise InputError(f"No test picture could be used; the first: {next(iter(errors.values()))}")
    labels = [s.sample.label for s in good]
    found = {}
    for head in heads:
        maps = np.stack([s.maps[head] for s in good])
        found[head] = evaluate([s.scores[head] for s in good], labels, maps, masks)
    return found, errors


def _mask(sample: Sample, size: tuple[int, int], max_pixels: int) -> np.ndarray:
    if sample.mask is None:  # of a normal picture; a defect without a mask is left out later
        return np.zeros(size, bool)
    return read_mask(sample.mask, size, max_pixels=max_pixels)


def mean(results: Sequence[Result]) -> dict[str, float]:
    """The mean of each metric over the results that have it, as data sets are summarised."""
    names = dict.fromkeys(name for r in results for name in r.metrics)
    return {n: float(np.mean([r.metrics[n] for r in results if n in r.metrics])) for n in names}
