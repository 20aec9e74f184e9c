"""One scoring run from a tower and heads to a finished folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from PIL import Image

from vlad import __version__
from vlad.backbones.tower import Tower
from vlad.coco import RegionFinder
from vlad.draw import shared_scales, write_overlays
from vlad.heads import Head, protocol
from vlad.joint import Comparison
from vlad.judging import Judged, Rules, check_calibration, judge, shared_settings
from vlad.panel import Panel
from vlad.progress import Progress
from vlad.report import write_report
from vlad.scoring import Pools, Scored, check_pools, score_samples
from vlad.sinks import MAP_SIDE, MapFormat, Row, RunFolder
from vlad.tiles import WHOLE, Tiling
from vlad.types import Sample


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do, besides its pictures and heads.

    Attributes:
        category: what the pictures show, where they do not say it themselves.
        bank: prompt bank for every head that reads text; None is each head's own.
        image_size: pixels a side of the tower's input; None is the tower's own.
        batch_size: pictures, or tiles, in one pass.
        references: the normal pictures, as drawn.
        seed: of that draw.
        map_format: "png" or "npy".
        bits: significant bits of 16-bit pictures.
        rules: how verdicts are found, or None for scores alone.
        tiling: how pictures and references are cut; maps of tiles are kept at the size of their
            picture.
    """

    category: str | None = None
    bank: str | None = None
    image_size: int | None = None
    batch_size: int = 8
    references: Sequence[Sample] = field(default_factory=tuple)
    seed: int = 0
    map_format: MapFormat = "png"
    bits: int = 16
    rules: Rules | None = None
    tiling: Tiling = WHOLE


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its rows in the order of the pictures, its report, and what was
    decided, where anything was."""

    folder: RunFolder
    rows: list[Row]
    report: Path
    judged: Judged | None = None

    @property
    def failed(self) -> int:
        """Pictures that could not be scored."""
        return sum(row.error is not None for row in self.rows)


def run(
    tower: Tower,
    heads: Mapping[str, Head],
    samples: Sequence[Sample],
    settings: Settings,
    out: str | Path,
    open_image: Callable[[Path], Image.Image],
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_scored: Callable[[list[Scored]], None] = lambda batch: None,
) -> Run:
    """Scores pictures into a folder, and draws overlays and report from what is there.

    Args:
        open_image: path -> upright RGB picture; raises ImageError.
        on_scored: called with each finished batch.

    Raises:
        VladError: whatever cannot be done for the run as a whole, before anything is written; a
            picture that cannot be scored becomes a row with its error.
    """
    panel = Panel(
        tower,
        heads,
        bank=settings.bank,
        image_size=settings.image_size,
        batch_size=settings.batch_size,
        tiling=settings.tiling,
    )
    categories = sorted({s.category or settings.category or "" for s in samples})
    for category in categories:
        for name in heads:
            panel.text(name, category or None)
    if settings.references:
        panel.fit(open_image(sample.path) for sample in settings.references)

    check_pools(panel, samples, settings.category)
    ranges = {name: head.map_range for name, head in heads.items()}
    side = MAP_SIDE if settings.tiling.tile is None else None
    record = _record(panel, settings, categories, samples[0])
    folder = RunFolder(out, ranges, record, settings.map_format, side)
    if settings.rules and settings.rules.calibration:
        check_calibration(settings.rules.calibration, shared_settings(folder))
    folder = folder.resume() if resume else folder.create(overwrite)
    normals, rules = None, settings.rules
    if rules and rules.held_out:
        record = _record(panel, settings, categories, rules.held_out[0])
        normals = RunFolder(
            folder.out / "calibration", ranges, record, settings.map_format, side
        ).resume()
        scored = "held-out normals: scored"
        held_out = _score(panel, normals, rules.held_out, settings, open_image, verb=scored)
        normals.finish(sample.path for sample in held_out)
        rules = replace(rules, held_out=held_out)
    samples = _score(panel, folder, samples, settings, open_image, on_scored)
    judged = judge(folder, samples, rules, normals) if rules else None
    finder = None
    if judged:
        finder = RegionFinder(judged.map_thresholds, rules.min_area, rules.mm_per_pixel)
    scales = shared_scales(folder, samples)
    with Progress(len(samples), verb="drawn") as progress:
        on_drawn = finder.add if finder else None
        write_overlays(folder, progress.track(samples), scales, open_image, on_drawn)
    # decisions of an earlier command must not stand beside the scores of this one
    folder.drop("regions", *([] if normals else ["calibration"]))
    columns = {}
    if judged:
        finder.write(folder.out / "regions")
        columns = {**judged.columns, **finder.columns()}
    else:
        folder.drop("calibration.json")
    rows = folder.finish((sample.path for sample in samples), columns)
    date = f"{datetime.now():%Y-%m-%d %H:%M}"
    report = write_report(folder, samples, scales, open_image, date, judged=judged, finder=finder)
    return Run(folder, rows, report, judged)


def _score(
    panel: Panel,
    folder: RunFolder,
    samples: Sequence[Sample],
    settings: Settings,
    open_image: Callable[[Path], Image.Image],
    on_scored: Callable[[list[Scored]], None] = lambda batch: None,
    verb: str = "scored",
) -> list[Sample]:
    """Scores what the folder lacks; the samples as its rows name them."""
    # a resumed run keeps the first spelling of each path, which is what its rows are named by
    spelling = {os.path.realpath(path): Path(path) for path in folder.rows}
    samples = [replace(s, path=spelling.get(os.path.realpath(s.path), s.path)) for s in samples]

    def lacks(sample: Sample, names: Iterable[str]) -> bool:
        return str(sample.path) not in folder.done or not set(names) <= set(folder.maps(sample))

    def keep(batch: list[Scored]) -> None:
        rows = []  # with what other heads have said of the same pictures
        for scored in batch:
            for name, anomaly_map in scored.maps.items():
                folder.write_map(name, scored.sample, anomaly_map, scored.size)
            path = str(scored.sample.path)
            before = folder.rows.get(path, Row(path)).scores
            rows.append(Row(path, {**before, **scored.scores}, scored.error))
        folder.append(rows)
        on_scored(batch)

    comparison = Comparison(folder, samples, panel.transductive)
    joint = [] if comparison.stands() else panel.transductive
    for names, waiting in _steps(panel, joint, samples, lacks):
        pools = Pools(settings.tiling)
        if set(names) & set(joint):
            comparison.begin()
        with Progress(len(samples), verb, done=len(samples) - len(waiting)) as progress:
            for batch in score_samples(
                panel.only(names),
                waiting,
                settings.category,
                batch_size=settings.batch_size,
                open_image=open_image,
                pools=pools,
            ):
                keep(batch)
                progress.advance(len(batch), failed=sum(s.error is not None for s in batch))
        if pools.joint:
            with Progress(0, verb="compared", unit="parts") as progress:
                for batch in pools.scores(progress.reach):
                    keep(batch)
            comparison.end()
    return samples


def _steps(
    panel: Panel,
    joint: Sequence[str],
    samples: Sequence[Sample],
    lacks: Callable[[Sample, Iterable[str]], bool],
) -> Iterator[tuple[list[str], list[Sample]]]:
    """(heads, pictures) still to be scored; `joint` heads need all pictures at once."""
    single = [name for name in panel.heads if name not in panel.transductive]
    waiting = [sample for sample in samples if single and lacks(sample, single)]
    if joint and len(waiting) in (0, len(samples)):
        together = single if waiting else []
        yield [*together, *joint], list(samples)
        return
    if waiting or not joint:
        yield single, waiting
    if joint:
        yield list(joint), list(samples)


def _record(panel: Panel, settings: Settings, categories: Sequence[str], first: Sample) -> dict:
    """What run.json keeps: everything that the scores depend on."""
    return {
        "vlad": __version__,
        "category": settings.category,
        "backbone": panel.tower.info.name,
        "weights": panel.tower.fingerprint[:16],
        "dtype": panel.tower.precision,
        "runtime": panel.tower.runtime,
        "image_size": {n: panel.extractor.size(spec) for n, spec in panel.specs.items()},
        "banks": {name: bank.name for name, bank in panel.banks.items()},
        "prompts": {
            name: {c: bank.expand(c or bank.noun).key[:16] for c in categories}
            for name, bank in panel.banks.items()
        },
        "params": {
            name: {k: v for k, v in vars(head).items() if not k.endswith("_")}
            for name, head in panel.heads.items()
        },
        "protocol": {name: protocol(head) for name, head in panel.heads.items()},
        "adapters": {
            name: {"name": head.adapter_.name, "sha256": head.adapter_.sha256}
            for name, head in panel.heads.items()
            if hasattr(head, "adapter_")
        },
        # the folder that the names of maps and overlays count from
        "root": str(Path(os.path.realpath(first.path)).parents[first.id.count("/")]),
        "bits": settings.bits,
        "references": {
            str(sample.path): hashlib.sha256(sample.path.read_bytes()).hexdigest()[:16]
            for sample in settings.references
        },
        "seed": settings.seed,
        **settings.tiling.settings,
    }
