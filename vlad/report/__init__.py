"""report.html: the scores and images of one run as a single file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from vlad.backbones import EMBEDDED
from vlad.calibration import FUSED
from vlad.heads import titled
from vlad.images.interest import RegionOfInterest
from vlad.report.cards import card_of, drawn, shown, strangest, write_cards
from vlad.report.charts import GROUPS, decimals, heat_scale, histogram
from vlad.report.csp import policy
from vlad.report.data import data_of
from vlad.report.entries import ranked, worst
from vlad.report.interest import outline
from vlad.report.script import script
from vlad.report.style import style
from vlad.report.verdicts import VerdictView
from vlad.results.coco import RegionFinder
from vlad.results.folder import RunFolder
from vlad.results.reasons import Reasons
from vlad.results.verdicts import Judged
from vlad.system.files import atomic_write
from vlad.system.templates import template
from vlad.types import Sample

_HERE = Path(__file__).parent
_THUMBNAIL_BYTES = 20_000_000  # of base64 text, so that the file stays below 25 MB
_ROWS = 20_000  # images that the script goes through, about 100 bytes each
_TABLE_ROWS = 200  # of the table without the script
_FAILED_ROWS = 5000
_SCRIPT = (
    *("csv", "marks", "threshold", "rows", "ask", "cards", "why", "sliders", "full", "keys"),
    "report",
)


def write_report(
    run: RunFolder,
    samples: Sequence[Sample],
    scales: Mapping[str, tuple[float, float]],
    open_image: Callable[[Path], Image.Image],
    date: str,
    limit: int = 300,
    judged: Judged | None = None,
    finder: RegionFinder | None = None,
    region: RegionOfInterest | None = None,
    orders: Mapping[str, Sequence[str]] | None = None,
    reasons: Reasons | None = None,
) -> Path:
    """Write report.html into a finished run; equal inputs give equal bytes.

    The images that any head ranks highest get thumbnails, up to `limit` and 20 MB in all; the
    script shows up to 20,000 images, the others from their files, and names the rest in words.

    Args:
        samples: the images of the report; those without a row in the run are left out.
        scales: head -> (low, high), the heat scale of the overlays; empty if no maps are kept.
        open_image: path -> upright image; raises ImageError.
        date: when the run was made, as printed.
        judged, finder: verdicts and regions, if there are any.
        region: the region of interest, drawn as an outline.
        orders: name -> paths, orders to go through the images in besides worst first and by name;
            images that one lacks come after those it has.
        reasons: why images are anomalous, of those for which it is known.

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
    entries, folder = ranked([pair for pair in found if pair[0].error is None], heads)
    titles = {h: titled(h, run.settings.get("protocol", {}).get(h, "")) for h in heads}
    columns = {h: [e.row.scores.get(h, math.nan) for e in entries] for h in heads}
    digits = {head: decimals(scores) for head, scores in columns.items()}
    labels = [entry.sample.label for entry in entries]
    interest, box = outline(region) if region else (None, None)
    kept = worst(entries, _ROWS)
    cards, rest = write_cards(
        kept,
        limit,
        _THUMBNAIL_BYTES,
        lambda e: card_of(run, e, digits, open_image, view, box),
    )
    css, js = style(_HERE / "report.css"), script(_SCRIPT)
    page = template(_HERE / "report.html.j2").stream(
        policy=policy(css, js, "img-src data: 'self'"),
        style=css,
        script=js,
        data=data_of(run, kept, folder, titles, digits, view, orders or {}, reasons or Reasons()),
        title=run.settings.get("category") or "Images",
        date=date,
        heads=heads,
        titles=list(titles.values()),
        head_choices=[(i, title, True) for i, title in enumerate(titles.values())],
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
        held_out=[strangest(view, h, digits[h], open_image) for h in heads if view.held_out(h)],
        scales=[
            heat_scale(h, *scales[drawn(run, h)], view.map_threshold(drawn(run, h)))
            for h in heads
            if scales
        ],
        explained=reasons.sentence if reasons else "",
        interest=interest,
        interest_box=box,
        order_choices=["Worst first", "By name", *(orders or {})],
        cards=cards,
        others=len(entries) - len(cards),
        rows=(shown(entry, digits) for entry in rest[:_TABLE_ROWS]),
        listed=_TABLE_ROWS,
        most=_ROWS,
        failed=failed,
        longest=_FAILED_ROWS,
        settings=_flat(run.settings),
    )
    return atomic_write(run.out / "report.html", lambda file: page.dump(file, "utf-8"))


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, ", ".join(map(str, value)) if isinstance(value, list) else value
