"""One scoring run from a backbone and heads to a finished folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from PIL import Image

from vlad.backbones.backbone import Backbone
from vlad.calibration import FUSED
from vlad.heads import Head
from vlad.images.interest import RegionOfInterest
from vlad.report import write_report
from vlad.report.overlays import shared_scales, write_overlays
from vlad.results.coco import RegionFinder
from vlad.results.comparison import Comparison
from vlad.results.drift import with_drift
from vlad.results.folder import RunFolder
from vlad.results.informative import informative_paths
from vlad.results.reasons import CROPS, Reasons
from vlad.results.reasons import FILE as REASONS
from vlad.results.rows import Row, State
from vlad.results.scales import count_cut, warn_of_cut
from vlad.results.seen import append_seen
from vlad.results.verdicts import Judged, Rules, judge
from vlad.runs.reasons import check_explained, explain_run
from vlad.runs.settings import Settings, categories_of, prepare, root_of, run_folder, without_copies
from vlad.scoring.cost import expect
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Pools, Scored, check_pools, score_samples
from vlad.scoring.setup import Setup
from vlad.system.lock import locked
from vlad.system.progress import Progress
from vlad.system.text import counted, shown
from vlad.types import Sample
from vlad.vlm import VLM

REVIEWED = 200  # images that the report has in an order for review


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, with rows in the order of the images, its report, and its
    verdicts and reasons, if any."""

    folder: RunFolder
    report: Path
    judged: Judged | None = None
    reasons: Reasons | None = None


def run(
    backbone: Backbone,
    heads: Mapping[str, Head],
    samples: Sequence[Sample],
    settings: Settings,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    explain: bool = False,
    vlm: VLM | None = None,
    on_scored: Callable[[list[Scored]], None] = lambda batch: None,
) -> Run:
    """Score images into a folder, then write overlays and a report.

    Args:
        explain: whether flagged images are explained (`vlad.runs.reasons.explain_run`).
        vlm: is asked about each image that is explained.
        on_scored: called with each finished batch.

    Raises:
        VladError: a problem of the run as a whole, before anything is written; an
            image that cannot be scored becomes a row with its error.
    """
    samples = settings.with_categories(samples)
    settings = without_copies(settings)
    categories = categories_of(samples)
    panel = prepare(backbone, heads, categories, settings)
    check_pools(panel, samples)
    if explain:
        check_explained(panel)
    if vlm is not None:
        vlm.check()
    folder = run_folder(panel, categories, root_of(samples), settings, out)
    with locked(folder.out):
        folder = folder.resume() if resume else folder.create(overwrite)
        rules, normals = score_held_out(panel, folder, categories, settings)
        rules, holdout = _score_holdout(panel, folder, categories, settings, rules)
        samples = _score(panel, folder, samples, settings, on_scored)
        told = partial(explain_run, panel, folder, samples, settings, vlm=vlm)
        why = told if explain else None
        region = panel.inside.region
        return _conclude(folder, samples, rules, normals, holdout, settings.setup, region, why)


def score_held_out(
    panel: Panel,
    folder: RunFolder,
    categories: Sequence[str | None],
    settings: Settings,
) -> tuple[Rules | None, RunFolder | None]:
    """Score held-out normal images, if any; return the rules of the run, and theirs."""
    rules = settings.rules
    if not (rules and rules.held_out):
        return rules, None
    out = folder.out / "calibration"
    normals = run_folder(panel, categories, root_of(rules.held_out), settings, out)
    held_out = _score_beside(panel, normals, rules.held_out, settings, "held-out normal")
    count_cut(normals, held_out)
    return replace(rules, held_out=held_out), normals


def _score_holdout(
    panel: Panel,
    folder: RunFolder,
    categories: Sequence[str | None],
    settings: Settings,
    rules: Rules | None,
) -> tuple[Rules | None, RunFolder | None]:
    """Score good images of another day, if any; return the rules of the run, and theirs."""
    if not (rules and rules.holdout):
        return rules, None
    # without maps, names need no root of their own, so another day may take the place of one
    out = folder.out / "holdout"
    settings = replace(settings, map_format="none")
    holdout = run_folder(panel, categories, out, settings, out)
    scored = _score_beside(panel, holdout, rules.holdout, settings, "another day's good")
    return replace(rules, holdout=scored), holdout


def _score_beside(
    panel: Panel, beside: RunFolder, given: Sequence[Sample], settings: Settings, kind: str
) -> list[Sample]:
    """Score images other than those of the run; return them as their rows name them."""
    samples = settings.with_categories(given)
    samples = _score(panel, beside.resume(), samples, settings, verb=f"{kind} images: scored")
    beside.finish(sample.path for sample in samples)
    return samples


def _conclude(
    folder: RunFolder,
    samples: Sequence[Sample],
    rules: Rules | None,
    normals: RunFolder | None,
    holdout: RunFolder | None,
    setup: Setup,
    region: RegionOfInterest | None,
    why: Callable[[Judged | None], Reasons] | None,
) -> Run:
    """Write verdicts, overlays, reasons and report from what is in the folder."""
    folder.drop("scores.parquet")  # without it, readers call the run unfinished
    judged: Judged | None = None
    finder: RegionFinder | None = None
    thresholds: Mapping[str, float] = {}
    if rules:
        judged = with_drift(judge(folder, samples, rules, normals, holdout), folder, samples)
        thresholds = judged.map_thresholds if folder.keeps_maps else {}
        finder = RegionFinder(thresholds, rules.min_area, rules.mm_per_pixel)
    scales = {}
    if folder.keeps_maps:
        scales = shared_scales(folder, samples, thresholds, region)
        with Progress(len(samples), verb="drawn") as progress:
            on_drawn = finder.add if finder else None
            write_overlays(folder, progress.track(samples), scales, setup.open_image, on_drawn)
    # verdicts of an earlier command must not stay beside the scores of this one
    beside = {"calibration": normals, "holdout": holdout}
    folder.drop(*(["drift.json"] if not (judged and judged.drift) else []))
    folder.drop("regions", *(name for name, kept in beside.items() if not kept))
    columns = {}
    if judged and finder:
        finder.write(folder.out / "regions")
        columns = {**judged.columns, **finder.columns()}
    else:
        folder.drop("calibration.json")
    folder.finish((sample.path for sample in samples), columns)
    warn_of_cut(folder, samples, thresholds)
    reasons = why(judged) if why else None
    if reasons is None:
        folder.drop(REASONS, CROPS)
    date = f"{datetime.now():%Y-%m-%d %H:%M}"
    report = write_report(
        folder,
        samples,
        scales,
        setup.open_image,
        date,
        judged=judged,
        finder=finder,
        region=region,
        orders=_orders(folder, judged),
        reasons=reasons,
    )
    return Run(folder, report, judged, reasons)


def _orders(folder: RunFolder, judged: Judged | None) -> dict[str, list[str]]:
    """Orders of the report besides its own: for review, where there is a threshold."""
    if judged is None:
        return {}
    head, column = next(iter(folder.heads)), judged.columns.get(FUSED)
    rows = folder.rows.values()
    scores = {row.path: row.scores[head] for row in rows if head in row.scores and not row.error}
    if column:
        head, scores = FUSED, {p: s for p, s in column.items() if isinstance(s, float)}
    threshold = judged.calibration.thresholds[head]
    paths = informative_paths(folder, scores, threshold, REVIEWED)
    return {"Most informative first": paths} if paths else {}


def _score(
    panel: Panel,
    folder: RunFolder,
    samples: Sequence[Sample],
    settings: Settings,
    on_scored: Callable[[list[Scored]], None] = lambda batch: None,
    verb: str = "scored",
) -> list[Sample]:
    """Score what the folder lacks; return the samples as its rows name them."""
    # a resumed run keeps the first spelling of each path, which is what its rows are named by
    spelling = {os.path.realpath(path): Path(path) for path in folder.rows}
    samples = [replace(s, path=spelling.get(os.path.realpath(s.path), s.path)) for s in samples]
    folder.rows.reserve(str(sample.path) for sample in samples)

    def keep(batch: list[Scored]) -> None:
        keep_scored(folder, batch, reader.states)
        on_scored(batch)

    warn_of_changed([sample.path for sample in samples if folder.changed(sample)])
    reader = Reader(settings.setup.open_image)
    comparison = Comparison(folder, samples, panel.transductive)
    joint = [] if comparison.stands() else panel.transductive
    for names, waiting in _steps(panel, joint, samples, folder):
        pools: Pools[Sample] = Pools(panel.tiling)
        if set(names) & set(joint):
            comparison.begin()
        with Progress(len(samples), verb, done=len(samples) - len(waiting)) as progress:
            expect(panel, len(waiting), progress.say, names)
            for batch in score_samples(
                panel.only(names),
                waiting,
                batch_size=settings.setup.batch_size,
                open_image=reader,
                pools=pools,
                box_model=settings.box_model,
            ):
                keep(batch)
                progress.advance(len(batch), failed=sum(s.error is not None for s in batch))
        if pools.joint:
            with Progress(0, verb="compared", unit="parts") as progress:
                for batch in pools.scores(progress.reach):
                    keep(batch)
            comparison.end()
    return samples


class Reader:
    """Opens images, and remembers the state that each file had before.

    Args:
        open_image: path -> RGB image.

    Attributes:
        states: path -> state, until `keep_scored` takes it.
    """

    def __init__(self, open_image: Callable[[Path], Image.Image]):
        self.open_image = open_image
        self.states: dict[str, State | None] = {}

    def __call__(self, path: Path) -> Image.Image:
        self.states[str(path)] = State.of(path)
        return self.open_image(path)


def warn_of_changed(paths: Sequence[str | Path]) -> None:
    """Says how many images of a run that is resumed are scored again."""
    if paths:
        warnings.warn(
            f"{counted(len(paths), 'image')} changed since the last command and will be scored "
            f"again; the first is {shown(paths[0])}.",
            stacklevel=2,
        )


def keep_scored(
    folder: RunFolder,
    batch: Sequence[Scored],
    states: dict[str, State | None],
    more: Mapping[str, Mapping[str, object]] | None = None,
) -> None:
    """Write maps, looks and rows of a batch, beside the scores that other heads gave its images.

    Args:
        states: of a `Reader`.
        more: as in `RunFolder.append`.

    Raises:
        OutputError: a file cannot be written.
    """
    rows = []
    for scored in batch:
        if scored.size and folder.keeps_maps:
            for name, anomaly_map in scored.maps.items():
                folder.write_map(name, scored.sample, anomaly_map, scored.size)
        path = str(scored.sample.path)
        before = folder.rows.get(path, Row(path))
        # heads that compare images speak of them a second time
        state = states.pop(path, before.state)
        kept = before.scores if state and state.same(before.state) else {}
        kinds = {**(before.kinds if kept else {}), **scored.kinds}
        rows.append(Row(path, {**kept, **scored.scores}, scored.error, state, kinds))
    append_seen(folder.out, [(str(s.sample.path), s.seen) for s in batch if s.seen])
    folder.append(rows, more)


def _steps(
    panel: Panel,
    joint: Sequence[str],
    samples: Sequence[Sample],
    folder: RunFolder,
) -> Iterator[tuple[list[str], list[Sample]]]:
    """(heads, images) still to score; `joint` heads need all images at once."""
    single = [name for name in panel.heads if name not in panel.transductive]
    waiting = [sample for sample in samples if single and not folder.has(sample, single)]
    if joint and len(waiting) in (0, len(samples)):
        together = single if waiting else []
        yield [*together, *joint], list(samples)
        return
    if waiting or not joint:
        yield single, waiting
    if joint:
        yield list(joint), list(samples)
