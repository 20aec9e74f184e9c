"""What comes before a scoring run: a fitted panel, and the settings that its scores depend on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from PIL import Image

from vlad.backbones.backbone import Backbone
from vlad.calibration.copies import count_others, find_copies, keep_others
from vlad.errors import InputError
from vlad.heads import Head
from vlad.results.folder import MAP_SIDE, MapFormat, RunFolder
from vlad.results.known import marks_of
from vlad.results.shared import check_calibration, shared_settings
from vlad.results.verdicts import Rules
from vlad.scoring.known import fit_known
from vlad.scoring.panel import Panel
from vlad.scoring.record import digests, digests_of_known, record_of
from vlad.scoring.setup import Setup
from vlad.types import Sample

if TYPE_CHECKING:
    from vlad.backbones.transformers.boxes import BoxModel


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do, besides its images and heads.

    Attributes:
        setup: how images are read and scored; maps of images cut into tiles are kept at the size
            of their image.
        category: what the images show, for those that do not say it themselves.
        references: the reference images, as drawn.
        seed: random seed of the draw.
        map_format: "png", "npy" or "none".
        rules: how verdicts are found, or None for scores only.
        pool: images that transductive heads compare each image with, instead of all with all.
        boxes: digest of the file that the boxes of the images are from, or identity of the model
            that finds them; None without boxes.
        box_model: finds the boxes of each image; None where samples have theirs, or none.
        known: marked defects for heads that remember them (`vlad.datasets.known.list_known`).
        quality: the level that set backbone, size, tiles and heads, or None.
        learned: name -> digest of the images that fitted heads were shown before.
        normals: name and digest of the normal ones among them, in order; None if that is unknown.
    """

    setup: Setup = field(default_factory=Setup)
    category: str | None = None
    references: Sequence[Sample] = ()
    seed: int = 0
    map_format: MapFormat = "png"
    rules: Rules | None = None
    pool: Sequence[Sample] = ()
    boxes: str | None = None
    box_model: BoxModel | None = None
    known: Sequence[Sample] = ()
    quality: str | None = None
    learned: Mapping[str, str] = field(default_factory=dict)
    normals: Sequence[tuple[str, str]] | None = None

    def with_categories(self, samples: Iterable[Sample]) -> list[Sample]:
        """The samples; those without a category get that of the run."""
        return [s if s.category else replace(s, category=self.category) for s in samples]


def categories_of(samples: Iterable[Sample]) -> list[str | None]:
    """What the images show, each once; None for images that do not say it."""
    return sorted({sample.category for sample in samples}, key=lambda name: name or "")


def prepare(
    backbone: Backbone,
    heads: Mapping[str, Head],
    categories: Sequence[str | None],
    settings: Settings,
    open_image: Callable[[Path], Image.Image] | None = None,
) -> Panel:
    """A panel with its prompts read, fitted on references and pool.

    Args:
        categories: from `categories_of`.
        open_image: path -> upright RGB image; None is that of the setup.

    Raises:
        VladError: a problem of the run as a whole.
    """
    open_image = open_image or settings.setup.open_image
    panel = settings.setup.panel(backbone, heads)
    for category in categories:
        for name in heads:
            panel.text(name, category)
        if settings.box_model:
            panel.faults(category)  # raises where it would have nothing to look for
    if settings.references:
        panel.fit(open_image(sample.path) for sample in settings.references)
    if settings.known:
        fit_known(panel, settings.known, open_image)
    if settings.pool:
        pooled = [n for n in panel.transductive if panel.heads[n].normals == "unused"]
        if not pooled:
            raise InputError(
                f"No head here uses a pool ({', '.join(heads)}); leave `pool` out, or add "
                "a head such as musc."
            )
        panel.fit((open_image(sample.path) for sample in settings.pool), pooled)
    if settings.rules and settings.rules.held_out and (joint := panel.transductive):
        raise InputError(
            f"Scores of {joint[0]} depend on all images of a run, so held-out normal images set no "
            "threshold for them; give musc a `pool`, april_gan rescale=false, or another head."
        )
    if settings.rules and settings.rules.holdout and (joint := panel.transductive):
        raise InputError(
            f"Scores of {joint[0]} depend on all images of a run, so good images of another day "
            "would get scores of another kind; give musc a `pool`, april_gan rescale=false, or "
            "another head."
        )
    return panel


def without_copies(settings: Settings) -> Settings:
    """The settings without held-out normal images that are copies of what the heads are shown, and
    without good images of another day that are copies of any of these.

    Raises:
        InputError: too few others for the false-alarm rate, or no others of another day.
    """
    rules = settings.rules
    if rules and rules.held_out:
        rules = _without_held_out(rules, settings)
    if rules and rules.holdout:
        rules = _without_known(rules, settings)
    return replace(settings, rules=rules)


def _without_held_out(rules: Rules, settings: Settings) -> Rules:
    shown = marks_of((*settings.references, *settings.pool), settings.setup.open_image)
    held_out = marks_of(rules.held_out, settings.setup.open_image)
    names = [str(sample.path) for sample in rules.held_out]
    kept, notes = keep_others(names, find_copies(shown, held_out), rules.false_alarms)
    return replace(rules, held_out=[rules.held_out[i] for i in kept], notes=notes)


def _without_known(rules: Rules, settings: Settings) -> Rules:
    known = [*settings.references, *settings.pool, *rules.held_out]
    learned = [*settings.learned, *(rules.calibration.names if rules.calibration else ())]
    known += [Sample(Path(name), "") for name in learned]
    open_image = settings.setup.open_image
    copied = find_copies(marks_of(known, open_image), marks_of(rules.holdout, open_image))
    kept, notes = count_others([str(sample.path) for sample in rules.holdout], copied)
    return replace(rules, holdout=[rules.holdout[i] for i in kept], holdout_notes=notes)


def run_folder(
    panel: Panel,
    categories: Sequence[str | None],
    root: Path,
    settings: Settings,
    out: str | Path,
    more: Mapping[str, Head] = MappingProxyType({}),
) -> RunFolder:
    """The folder of a run with this panel; nothing is written yet.

    Args:
        root: the folder that names of maps and overlays are relative to.
        more: heads of another panel whose scores stand there too.

    Raises:
        InputError: a calibration made with other settings.
    """
    ranges = {name: head.map_range for name, head in {**panel.heads, **more}.items()}
    side = MAP_SIDE if settings.setup.tile is None else None
    record = {**scores_depend_on(panel, settings, categories), "root": os.path.realpath(root)}
    folder = RunFolder(out, ranges, record, settings.map_format, side)
    if settings.rules and settings.rules.calibration:
        check_calibration(settings.rules.calibration, shared_settings(folder.settings))
    return folder


def root_of(samples: Sequence[Sample]) -> Path:
    """The folder that their ids are relative to."""
    first = samples[0]  # it may be a link to somewhere else
    return Path(os.path.realpath(Path(os.path.abspath(first.path)).parents[first.id.count("/")]))


def scores_depend_on(panel: Panel, settings: Settings, categories: Sequence[str | None]) -> dict:
    """The settings that scores depend on, as in run.json."""
    kinds = {name: list(head.known) for name, head in panel.heads.items() if head.known}
    setup, references = settings.setup, {**settings.learned, **digests(settings.references)}
    return {
        **record_of(panel, setup, categories, references),
        "category": settings.category,
        **({"pool": digests(settings.pool)} if settings.pool else {}),
        **({"boxes": settings.boxes} if settings.boxes else {}),
        **({"known_defects": digests_of_known(settings.known)} if settings.known else {}),
        **({"kinds": kinds} if kinds else {}),
        "seed": settings.seed,
        **({"quality": settings.quality} if settings.quality else {}),
        **settings.setup.tiling.settings,
    }
