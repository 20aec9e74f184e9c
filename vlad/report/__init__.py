"""report.html: the scores and images of one run as a single file that needs nothing else."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from vlad.backbones import EMBEDDED
from vlad.calibration import FUSED
from vlad.errors import ImageError
from vlad.heads import titled
from vlad.report.charts import GROUPS, decimals, heat_scale, histogram, thumbnail
from vlad.report.csp import policy
from vlad.report.style import style
from vlad.report.verdicts import VerdictView
from vlad.results.coco import RegionFinder
from vlad.results.folder import RunFolder
from vlad.results.rows import Row
from vlad.results.verdicts import Judged
from vlad.system.files import atomic_write
from vlad.system.templates import template
from vlad.types import Sample

_HERE = Path(__file__).parent
_THUMBNAIL_BYTES = 20_000_000  # of base64 text, so that the file stays below 25 MB
_TABLE_ROWS = 5000
_HELD_OUT = 12  # of the held-out normal images of a head that are shown


@dataclass(frozen=True)
class _Entry:
    """A scored image: its row, its sample, and its place from 1 (the worst) under each head."""

    row: Row
    sample: Sample
    ranks: tuple[int, ...]
    name: str


def write_report(
    run: RunFolder,
    samples: Sequence[Sample],
    scales: Mapping[str, tuple[float, float]],
    open_image: Callable[[Path], Image.Image],
    date: str,
    limit: int = 300,
    judged: Judged | None = None,
    finder: RegionFinder | None = None,
) -> Path:
    """Write report.html into a finished run; equal inputs give equal bytes.

    The images that any head ranks highest get thumbnails, up to `limit` and 20 MB in all; the
    other images follow as rows of a table.

    Args:
        samples: the images of the report; those without a row in the run are left out.
        scales: head -> (low, high), the heat scale of the overlays; empty if no maps are kept.
        open_image: path -> upright image; raises ImageError.
        date: when the run was made, as printed.
        judged, finder: verdicts and regions, if there are any.

    Raises:
        OutputError: the file cannot be written.
    """
    fused = [FUSED] if judged and FUSED in judged.calibration.thresholds else []
    heads = [*fused, *run.heads]
    known = {str(s.path): s.label for s in samples if s.label is not None}
    view = VerdictView(heads, judged, finder, known)
    found = [(run.rows[str(s.path)], s) for s in samples if str(s.path) in run.rows]
    found = [(replace(r, scores={**r.scores, **view.fused(r.path)}), s) for r, s in found]
    failed = [row for row, _ in found if row.error is not None]
    entries = _ranked([pair for pair in found if pair[0].error is None], heads)
    titles = {h: titled(h, run.settings.get("protocol", {}).get(h, "")) for h in heads}
    columns = {h: [e.row.scores.get(h, math.nan) for e in entries] for h in heads}
    digits = {head: decimals(scores) for head, scores in columns.items()}
    labels = [entry.sample.label for entry in entries]
    cards, rest = _cards(entries, limit, lambda e: _card(run, e, digits, open_image, view))
    css, script = style(_HERE / "report.css"), (_HERE / "report.js").read_text("utf-8")
    page = template(_HERE / "report.html.j2").stream(
        policy=policy(css, script, "img-src data:"),
        style=css,
        script=script,
        title=run.settings.get("category") or "Images",
        date=date,
        heads=heads,
        titles=list(titles.values()),
        head_choices=list(enumerate(titles.values())),
        backbone=run.settings.get("backbone"),
        trial=run.settings.get("backbone") in EMBEDDED,
        scored=len(entries),
        labelled=[(GROUPS[i][1], labels.count(i)) for i in (0, 1) if known],
        verdict_counts=view.counts(),
        verdict_notes=view.notes(),
        verdict_choices=view.choices(),
        drift=judged.drift if judged else None,
        charts=[
            histogram(
                titles[h], columns[h], labels, view.threshold(h), [*view.held_out(h).values()]
            )
            for h in heads
        ],
        held_out=[_strangest(view, h, digits[h], open_image) for h in heads if view.held_out(h)],
        scales=[
            heat_scale(h, *scales[_drawn(run, h)], view.map_threshold(_drawn(run, h)))
            for h in heads
            if scales
        ],
        cards=cards,
        others=len(rest),
        rows=(_shown(entry, digits, view) for entry in rest[:_TABLE_ROWS]),
        failed=failed,
        longest=_TABLE_ROWS,
        settings=_flat(run.settings),
    )
    return atomic_write(run.out / "report.html", lambda file: page.dump(file, "utf-8"))


def _ranked(found: list[tuple[Row, Sample]], heads: list[str]) -> list[_Entry]:
    """Entries worst first by the first head; a missing or NaN score comes last."""
    ranks: list[list[int]] = [[0] * len(heads) for _ in found]
    for column, head in enumerate(heads):
        scores = [row.scores.get(head, math.nan) for row, _ in found]
        keys = [math.inf if math.isnan(score) else -score for score in scores]
        for rank, index in enumerate(sorted(range(len(found)), key=keys.__getitem__), start=1):
            ranks[index][column] = rank
    names = _short_names([row.path for row, _ in found])
    entries = [
        _Entry(row, sample, tuple(rank), name)
        for (row, sample), rank, name in zip(found, ranks, names, strict=True)
    ]
    return sorted(entries, key=lambda entry: entry.ranks)


def _short_names(paths: list[str]) -> list[str]:
    """The paths without the folders that all of them share."""
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in paths])
        return [os.path.relpath(path, common or ".") for path in paths]
    except ValueError:  # absolute and relative paths, or two drives
        return paths


def _drawn(run: RunFolder, name: str) -> str:
    """The head whose heat map is shown: fused heads have none of their own."""
    return name if name in run.heads else next(iter(run.heads))


def _cards(
    entries: list[_Entry], limit: int, values: Callable[[_Entry], dict[str, Any]]
) -> tuple[list[str], list[_Entry]]:
    """The cards of the images that a head ranks worst, and the other images; both in order."""
    card = template(_HERE / "image.html.j2").module.card  # type: ignore[attr-defined]
    cards: dict[tuple[int, ...], str] = {}
    used = 0
    by_best_rank = sorted(entries, key=lambda e: (min(e.ranks), e.ranks))
    for entry in by_best_rank[:limit]:
        html = card(values(entry))
        used += len(html)
        if used > _THUMBNAIL_BYTES:
            break
        cards[entry.ranks] = html
    return [cards[ranks] for ranks in sorted(cards)], [e for e in entries if e.ranks not in cards]


def _shown(entry: _Entry, digits: Mapping[str, int], view: VerdictView) -> dict[str, Any]:
    """What a card and a row of the table show of an image."""
    *folders, file = Path(entry.name).parts
    scores = entry.row.scores
    return {
        "path": entry.row.path,
        "name": entry.name,
        "folders": ["…", *folders[-2:]] if len(folders) > 2 else folders,
        "file": file,
        "ranks": entry.ranks,
        "text": " ".join([entry.name, entry.sample.defect or "", *entry.row.kinds.values()]),
        "verdicts": view.words(entry.row.path),
        "scores": [f"{scores[h]:.{n}f}" if h in scores else "–" for h, n in digits.items()],
    }


def _card(
    run: RunFolder,
    entry: _Entry,
    digits: Mapping[str, int],
    open_image: Callable[[Path], Image.Image],
    view: VerdictView,
) -> dict[str, Any]:
    image, sample = _shown(entry, digits, view), entry.sample
    try:
        image["small"] = thumbnail(open_image(sample.path))
    except ImageError:  # scored earlier in the run, deleted since
        image["small"] = None
    image["has_maps"] = run.keeps_maps
    image["label"] = None
    if sample.label is not None:
        kind, word = GROUPS[sample.label]
        image["label"] = kind, sample.defect or word
    image["parts"] = []
    for head, rank, score in zip(view.names, entry.ranks, image["scores"], strict=True):
        heat, overlay = None, run.overlay_path(_drawn(run, head), sample)
        if overlay.exists():
            with Image.open(overlay) as drawn:
                heat = thumbnail(drawn)
        image["parts"].append(
            {
                "head": head,
                "rank": rank,
                "score": score,
                "heat": heat,
                "regions": view.outlines(_drawn(run, head), entry.row.path),
                "verdict": view.line(head, entry.row.path),
                "kind": entry.row.kinds.get(head),
            }
        )
    return image


def _strangest(
    view: VerdictView, head: str, digits: int, open_image: Callable[[Path], Image.Image]
) -> list[dict[str, Any]]:
    """The held-out normal images that score highest, for cards."""
    found = []
    for path, score in islice(view.held_out(head).items(), _HELD_OUT):
        try:
            small = thumbnail(open_image(Path(path)))
        except ImageError:  # of a calibration made elsewhere
            small = None
        values = {"name": Path(path).name, "path": path, "small": small}
        found.append({**values, "score": f"{score:.{digits}f}", "place": view.place(head, path)})
    return found


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, ", ".join(map(str, value)) if isinstance(value, list) else value
