"""Metrics of heads on a labelled data set, all heads in one pass over its images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vlad.backbones.backbone import Backbone
from vlad.calibration.pixels import PixelSpread
from vlad.datasets.known import without_known
from vlad.datasets.shots import draw_shots
from vlad.errors import HeadError
from vlad.evaluation.corruptions import corrupted, corrupted_mask
from vlad.evaluation.measures import LIMIT, Measures
from vlad.evaluation.pixels import ROOM
from vlad.evaluation.validation import pixel_spreads
from vlad.heads import Head
from vlad.prompts import PromptBank
from vlad.scoring.cost import expect
from vlad.scoring.known import fit_known
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Pools, check_pools, score_samples
from vlad.scoring.record import asked_by, digest_of
from vlad.scoring.setup import Setup
from vlad.system.progress import Progress
from vlad.system.text import counted, shown
from vlad.types import Sample

if TYPE_CHECKING:
    from vlad.backbones.transformers.boxes import BoxModel

# shots of a head that needs normal images, if none are requested
DEFAULT_SHOTS = 4


@dataclass(frozen=True)
class Entry:
    """A head to measure, and the normal images to fit it on.

    Attributes:
        name: of the head, as results name it.
        head: unfitted, to be fitted here; or fitted on the images in `learned`.
        k_shot: number of normal images drawn for it.
        seed: random seed of the draw.
        learned: name -> digest of the images that it was fitted on before.
    """

    name: str
    head: Head
    k_shot: int = 0
    seed: int = 0
    learned: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """Metrics of one head on one category.

    Attributes:
        category, head, k_shot, seed: what was measured.
        corruption: what was done to the test images, by its name, or None.
        protocol: what its metrics may be compared with, as `Panel.inside` says it.
        metrics, bounds, errors, images, scores, labels: as in
            `vlad.evaluation.measures.Measured`.
        references: the reference images.
        known: the images of the known defects that it remembers.
        transductive: whether it saw all test images at once.
        auxiliary: the data its adapter was trained on, or None.
        bank: the prompt bank it read, or None.
        words: what its prompts call the category, or None.
        prompts: hash of its prompts, or of what it asks a model of its own, or None.
        image_size: pixels a side of the backbone's input.
        tile, overlap: how images were cut, as in `Tiling`; None if they were not.
        head_seconds: per image, in the head alone.
        backbone_seconds: per image, in the backbone for all heads measured together.
    """

    category: str
    head: str
    k_shot: int
    seed: int
    protocol: str
    metrics: Mapping[str, float]
    bounds: Mapping[str, float] = field(default_factory=dict)
    references: Sequence[str] = ()
    known: Sequence[str] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    transductive: bool = False
    auxiliary: str | None = None
    bank: str | None = None
    words: str | None = None
    prompts: str | None = None
    image_size: int = 0
    tile: int | None = None
    overlap: float | None = None
    images: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    corruption: str | None = None
    head_seconds: float = 0.0
    backbone_seconds: float = 0.0


def evaluate_category(
    backbone: Backbone,
    entries: Sequence[Entry],
    category: str,
    train: Sequence[Sample],
    test: Sequence[Sample],
    setup: Setup | None = None,
    *,
    words: str | None = None,
    room: int = ROOM,
    box_model: BoxModel | None = None,
    corruptions: Sequence[str] = (),
    known: Sequence[Sample] = (),
    validation: Sequence[Sample] = (),
    limit: float = LIMIT,
    then: Callable[[Panel, Mapping[str, PixelSpread]], None] | None = None,
) -> list[Result]:
    """Fit heads on normal images of a category and measure them on its test images.

    All heads share one pass over the test images, whatever they were fitted on; each corruption
    takes another pass.

    Args:
        setup: how images are read and scored. If images are cut into tiles, pixel metrics
            compare maps and masks at the size of each image.
        words: what prompts call the category; None is its name.
        room: bytes of temporary files for the maps of all heads; beyond them, metrics come from
            histograms, with a bound on their error.
        box_model: finds boxes in the test images, for the heads that use some.
        corruptions: names of `vlad.evaluation.corruptions`, to measure on corrupted test images
            too; normal images stay as they are.
        known: marked defects for the heads that remember some (`vlad.datasets.known`); those among
            the test images are left out of the test, which is said.
        validation: normal images that set a threshold of pixels, for the metric seg_f1.
        limit: of AUPRO; with another than 0.3, the metric is named after it.
        then: called last, with the fitted panel and what the validation images gave.

    Raises:
        InputError: no image can be used, fewer normal images than shots, an image labelled
            normal has defect pixels, or every defect of the test is a known one.
        PromptError: a prompt bank does not support the category.
        HeadError: no shots for a head that needs normal images, a single test image for one that
            compares them with each other, or known defects but no head that learns them.
    """
    for entry in entries:
        if entry.head.normals == "needed" and not (entry.k_shot or entry.head.fitted):
            raise HeadError(
                f"Head {entry.name} compares with normal images; raise `k_shot` above 0."
            )
    setup = setup or Setup()
    named = {_key(entry, entries): entry for entry in entries}
    panel = setup.panel(backbone, {key: entry.head for key, entry in named.items()})
    for key in named:
        panel.text(key, words or category)
    drawn = {(e.k_shot, e.seed): draw_shots(train, e.k_shot, e.seed) for e in entries if e.k_shot}
    for shots, references in drawn.items():
        keys = [key for key, entry in named.items() if (entry.k_shot, entry.seed) == shots]
        panel.fit((setup.open_image(sample.path) for sample in references), keys)
    if known:
        fit_known(panel, known, setup.open_image)
        test = without_known(test, known)
    for entry in entries:
        warn_of_seen(entry, test)
    test = [replace(s, category=words or s.category or category) for s in test]
    check_pools(panel, test)

    spreads = pixel_spreads(
        panel, [replace(s, category=words or category) for s in validation], setup
    )
    sources = _Sources(
        panel,
        named,
        category,
        words,
        {k: tuple(str(s.path) for s in r) for k, r in drawn.items()},
        [str(s.path) for s in known],
        limit,
        {name: spread.threshold for name, spread in spreads.items()},
    )
    results = [
        result
        for corruption in (None, *corruptions)
        for result in _measured(sources, test, setup, room, box_model, corruption)
    ]
    if then:
        then(panel, spreads)
    return results


@dataclass(frozen=True)
class _Sources:
    """Fitted heads, what their results are named after, and how pixels are measured."""

    panel: Panel
    named: Mapping[str, Entry]
    category: str
    words: str | None
    references: Mapping[tuple[int, int], Sequence[str]]  # (k_shot, seed) -> reference images
    known: Sequence[str]
    limit: float
    thresholds: Mapping[str, float]


def _measured(
    sources: _Sources,
    test: Sequence[Sample],
    setup: Setup,
    room: int,
    box_model: BoxModel | None,
    corruption: str | None,
) -> list[Result]:
    """One pass over the test images, as they are or corrupted."""
    panel, category = sources.panel, sources.category
    measures = Measures(test, setup.max_pixels, room, sources.limit, sources.thresholds)
    open_image: Callable[[Path], Image.Image] = setup.open_image
    of = ""
    if corruption:
        of = f", {corruption}"
        measures.change_mask = partial(corrupted_mask, corruption)

        def open_image(path: Path) -> Image.Image:
            return corrupted(corruption, setup.open_image(path), path)

    pools: Pools[Sample] = Pools(panel.tiling)
    panel.clock.restart()
    with Progress(len(test), verb=f"{category}{of}: scored") as progress:
        expect(panel, len(test), progress.say)
        for batch in score_samples(
            panel,
            test,
            batch_size=setup.batch_size,
            open_image=open_image,
            pools=pools,
            box_model=box_model,
        ):
            measures.add(batch)
            progress.advance(len(batch), failed=sum(s.error is not None for s in batch))
    if pools.joint:
        with Progress(0, verb=f"{category}{of}: compared", unit="parts") as progress:
            for batch in pools.scores(progress.reach):
                measures.add(batch)
    results = []
    words = sources.words or category
    for key, entry in sources.named.items():
        found = measures.of(key)
        adapter, bank = entry.head.adapter_, panel.banks.get(key)
        results.append(
            Result(
                category=category,
                head=entry.name,
                k_shot=entry.k_shot or len(entry.learned),
                seed=entry.seed,
                corruption=corruption,
                protocol=panel.inside.protocol(key),
                metrics=found.metrics,
                bounds=found.bounds,
                known=sources.known if entry.head.known else (),
                references=[
                    *entry.learned,
                    *sources.references.get((entry.k_shot, entry.seed), ()),
                ],
                errors=found.errors,
                transductive=entry.head.transductive,
                auxiliary=adapter.auxiliary if adapter else None,
                bank=bank.name if bank else None,
                words=words if bank else None,
                prompts=prompts_key(bank, words) if bank else asked_by(entry.head) or None,
                image_size=panel.extractor.size(panel.specs[key]),
                tile=setup.tile,
                overlap=setup.tiling.settings["overlap"],
                images=found.images,
                scores=found.scores,
                labels=found.labels,
                head_seconds=(panel.clock.seconds[key] + pools.seconds[key]) / found.images,
                backbone_seconds=panel.clock.seconds["backbone"] / found.images,
            )
        )
    return results


def rules_of(data: Any, category: str) -> dict[str, Any]:
    """What a data set asks of `evaluate_category` beyond train and test: `validation`, `limit`.

    Args:
        data: as `vlad.datasets.load_dataset` opens it.
    """
    validation = data.validation(category) if hasattr(data, "validation") else ()
    return {"validation": validation, "limit": getattr(data, "aupro_limit", LIMIT)}


def warn_of_seen(entry: Entry, test: Sequence[Sample]) -> None:
    """Warn of test images that a fitted head has learned from: their scores say nothing."""
    learned = set(entry.learned.values())
    seen = [s.path for s in test if learned and s.path.is_file() and digest_of(s.path) in learned]
    if seen:
        warnings.warn(
            f"{entry.name} learned from {counted(len(seen), 'test image')}, the first is "
            f"{shown(seen[0])}; its results are too good, so fit it on others.",
            stacklevel=3,
        )


def prompts_key(bank: PromptBank, words: str) -> str:
    """A hash of the sentences of a bank about a category, which change as the bank does.

    Raises:
        PromptError: the bank does not support the category.
    """
    return bank.expand(words).key[:16]


def _key(entry: Entry, entries: Sequence[Entry]) -> str:
    """A name for an entry that no other entry has."""
    if sum(other.name == entry.name for other in entries) == 1:
        return entry.name
    return f"{entry.name} with {entry.k_shot} shots of seed {entry.seed}"


def shots_of(head: Head, k_shot: int | None) -> int:
    """The number of normal images to fit a head on if `k_shot` are requested.

    None is `DEFAULT_SHOTS` for heads that need normal images and 0 for the others.
    """
    if k_shot is None:
        return DEFAULT_SHOTS if head.normals == "needed" else 0
    return 0 if head.normals == "unused" else k_shot


def mean(results: Sequence[Result]) -> dict[str, float]:
    """The mean of each metric over the results that have it, as data sets are summarised."""
    names = dict.fromkeys(name for r in results for name in r.metrics)
    return {n: float(np.mean([r.metrics[n] for r in results if n in r.metrics])) for n in names}
