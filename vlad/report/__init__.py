"""report.html: the scores and images of one run as a single file that needs nothing else."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from vlad.calibration import FUSED
from vlad.errors import ImageError
from vlad.heads import titled
from vlad.report.charts import GROUPS, decimals, heat_legend, histogram, html_text, thumbnail
from vlad.report.csp import policy
from vlad.report.verdicts import VerdictView
from vlad.results.coco import RegionFinder
from vlad.results.folder import RunFolder
from vlad.results.rows import Row
from vlad.results.verdicts import Judged
from vlad.system.files import atomic_write
from vlad.types import Sample

_TEMPLATE = Path(__file__).with_name("report.html")
_THUMBNAIL_BYTES = 20_000_000  # of base64 text, so that the file stays below 25 MB
_TABLE_ROWS = 5000
# what only images with heat over them need
_SHOW = (
    '<fieldset data-script hidden><legend>Show</legend><div class="segments">'
    '<label><input type="radio" name="show" value="" checked><span>Image</span></label>'
    '<label><input type="radio" name="show" value="heated"><span>Heat map</span></label>'
    '<label><input type="radio" name="show" value="beside"><span>Both</span></label>'
    "</div></fieldset>"
)
_HINT = '<p class="hint" data-script hidden></p>'


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

    Thumbnails are given to the images that any head ranks highest, `limit` in all or fewer if
    they would pass 20 MB; the other images follow as rows of a table.

    Args:
        samples: the images of the report; those without a row in the run are left out.
        scales: head -> (low, high), the heat scale of the overlays; empty where no maps are kept.
        open_image: path -> upright image; raises ImageError.
        date: when the run was made, as it is to be printed.
        judged, finder: verdicts and regions, where there are any.

    Raises:
        OutputError: the file cannot be written.
    """
    fused = [FUSED] if judged and FUSED in judged.calibration.thresholds else []
    heads = [*fused, *run.heads]
    view = VerdictView(heads, judged, finder)
    found = [(run.rows[str(s.path)], s) for s in samples if str(s.path) in run.rows]
    found = [(replace(r, scores={**r.scores, **view.fused(r.path)}), s) for r, s in found]
    failed = [row for row, _ in found if row.error is not None]
    entries = _ranked([pair for pair in found if pair[0].error is None], heads)
    titles = {h: titled(h, run.settings.get("protocol", {}).get(h, "")) for h in heads}
    columns = {h: [e.row.scores.get(h, math.nan) for e in entries] for h in heads}
    digits = {head: decimals(scores) for head, scores in columns.items()}
    labels = [entry.sample.label for entry in entries]

    cards, rest, used = [], [], 0
    by_best_rank = sorted(entries, key=lambda e: (min(e.ranks), e.ranks))
    for place, entry in enumerate(by_best_rank):
        card = _card(run, entry, digits, open_image, view) if place < limit else None
        if card is None or used + len(card) > _THUMBNAIL_BYTES:
            rest = by_best_rank[place:]
            break
        cards.append((entry, card))
        used += len(card)
    cards = [card for entry, card in sorted(cards, key=lambda c: c[0].ranks)]
    rest.sort(key=lambda e: e.ranks)

    category = run.settings.get("category")
    values = {
        "title": html_text(category or "Images"),
        "date": html_text(date),
        "lead": _lead(run, list(titles.values())),
        "tiles": _tiles(entries, failed) + view.tiles(),
        "charts": "".join(
            histogram(titles[head], columns[head], labels, view.threshold(head)) for head in heads
        ),
        "verdicts": view.note(),
        "switch": _switch(list(titles.values())),
        "filters": view.filters(),
        "scales": "".join(
            heat_legend(h, i, *scales[_drawn(run, h)]) for i, h in enumerate(heads) if scales
        ),
        "show": _SHOW if scales else "",
        "hint": _HINT if scales else "",
        "limit": _limit_note(len(cards), len(rest)),
        "cards": "".join(cards),
        "rest": _rest_table(rest, heads, digits, view),
        "failed": _failed_table(failed),
        "settings": _settings_rows(run.settings),
    }
    template = _TEMPLATE.read_text(encoding="utf-8")
    values["policy"] = policy(template, "img-src data:")
    # one pass over the template, so that a value that looks like a placeholder stays text
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)
    return atomic_write(run.out / "report.html", page.encode("utf-8"))


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


def _score(entry: _Entry, head: str, digits: int) -> str:
    return f"{entry.row.scores[head]:.{digits}f}" if head in entry.row.scores else "–"


def _lead(run: RunFolder, titles: list[str]) -> str:
    names = [f"<b>{html_text(title)}</b>" for title in titles]
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    backbone = run.settings.get("backbone")
    on = f" on the backbone <b>{html_text(backbone)}</b>" if backbone else ""
    return f"Scored with {listed}{on}."


def _tiles(entries: list[_Entry], failed: list[Row]) -> str:
    labels = [entry.sample.label for entry in entries]
    link = ' <a href="#failed">see why</a>' if failed else ""
    tiles = [
        ("", "Scored", len(entries), ""),
        ("bad" if failed else "", "Failed", len(failed), link),
    ]
    if any(label is not None for label in labels):
        tiles.append(("", "Labelled normal", labels.count(0), ""))
        tiles.append(("", "Labelled defective", labels.count(1), ""))
    return "".join(
        f'<div class="{kind}"><dt>{name}</dt><dd>{count:,}{extra}</dd></div>'
        for kind, name, count, extra in tiles
    )


def _drawn(run: RunFolder, name: str) -> str:
    """The head whose heat is shown: all together have none of their own."""
    return name if name in run.heads else next(iter(run.heads))


def _switch(titles: list[str]) -> str:
    if len(titles) < 2:
        return ""
    options = "".join(
        f'<label><input type="radio" name="head" value="{i}"{" checked" * (i == 0)}>'
        f"<span>{html_text(title)}</span></label>"
        for i, title in enumerate(titles)
    )
    return (
        "<fieldset data-script hidden><legend>Head</legend>"
        f'<div class="segments">{options}</div></fieldset>'
    )


def _card(
    run: RunFolder,
    entry: _Entry,
    digits: Mapping[str, int],
    open_image: Callable[[Path], Image.Image],
    view: VerdictView,
) -> str:
    name = html_text(entry.name)
    try:
        images = [f'<img alt="{name}" {thumbnail(open_image(entry.sample.path))}>']
    except ImageError:  # scored in an earlier part of the run, gone by now
        images = [f"<span>{name}</span>"]
    scores, ranks, others, verdicts = [], [], [], []
    state = '<span class="state"></span>' if run.keeps_maps else ""
    for i, (head, rank) in enumerate(zip(view.names, entry.ranks, strict=True)):
        part = f'data-head="{i}"{" hidden" * (i > 0)}'
        overlay = run.overlay_path(_drawn(run, head), entry.sample)
        if overlay.exists():
            with Image.open(overlay) as drawn:
                images.append(
                    f'<img class="heat" {part} alt="Heat map of {name} by {html_text(head)}" '
                    f"{thumbnail(drawn)}>"
                )
        images.append(view.outlines(_drawn(run, head), entry.row.path, part))
        verdicts.append(view.line(head, entry.row.path, part))
        score = _score(entry, head, digits[head])
        ranks.append(f'<span class="rank" {part}>#{rank}</span>')
        scores.append(f'<span class="score" {part}>{score}</span>')
        others.append(
            f'<p data-now="{i}"{" class=now" * (i == 0)}><span>{html_text(head)}</span>'
            f"<span>#{rank}</span><span>{score}</span></p>"
        )
    return (
        f"<li {_item(entry, view, 'card')}>"
        '<button class="view" type="button" aria-pressed="false" '
        f'aria-label="Keep the heat map of {name} in view">'
        f"{''.join(images)}{''.join(ranks)}{state}</button>"
        f'<div class="body"><div class="line">{"".join(scores)}{_badge(entry.sample)}</div>'
        f"{''.join(verdicts)}"
        f'<p class="name" title="{html_text(entry.row.path)}">{_name(entry)}</p>'
        + (f'<div class="others">{"".join(others)}</div>' if len(others) > 1 else "")
        + "</div></li>"
    )


def _item(entry: _Entry, view: VerdictView, kind: str = "") -> str:
    ranks = " ".join(map(str, entry.ranks))
    text = html_text(f"{entry.name} {entry.sample.defect or ''}")
    return f'class="{kind}" data-ranks="{ranks}" data-text="{text}"{view.data(entry.row.path)}'


def _badge(sample: Sample) -> str:
    if sample.label is None:
        return ""
    kind, word = GROUPS[sample.label]
    word = html_text(sample.defect or word)
    return f'<span class="badge"><span class="mark {kind}"></span>{word}</span>'


def _name(entry: _Entry) -> str:
    *folders, file = Path(entry.name).parts
    if not folders:
        return html_text(file)
    shown = ["…", *folders[-2:]] if len(folders) > 2 else folders
    # <wbr> lets long names break after a folder instead of inside a word
    return "<i>" + "".join(f"{html_text(f)}/<wbr>" for f in shown) + f"</i>{html_text(file)}"


def _limit_note(shown: int, rest: int) -> str:
    if not rest:
        return ""
    more = f" The first {_TABLE_ROWS:,} of these are listed." if rest > _TABLE_ROWS else ""
    words = f"Shown are the {shown:,} images that a head ranks worst; the other {rest:,} are in"
    return f'<p>{words} <a href="#rest">the table below</a> and in scores.csv.{more}</p>'


def _rest_table(
    rest: list[_Entry], heads: list[str], digits: Mapping[str, int], view: VerdictView
) -> str:
    titles = "".join(f'<th scope="col" class="number">{html_text(head)}</th>' for head in heads)
    rows = [
        f"<tr {_item(e, view)}><td>{_name(e)}</td>"
        + "".join(f'<td class="number">{_score(e, h, digits[h])}</td>' for h in heads)
        for e in rest[:_TABLE_ROWS]
    ]
    return _table("rest", "Other images", titles, rows)


def _failed_table(failed: list[Row]) -> str:
    rows = [
        f"<tr><td>{html_text(row.path)}</td><td>{html_text(row.error)}</td>"
        for row in failed[:_TABLE_ROWS]
    ]
    if len(failed) > _TABLE_ROWS:
        rows.append(f"<tr><td>{len(failed) - _TABLE_ROWS:,} more are in scores.csv</td><td></td>")
    return _table("failed", "Images that could not be scored", '<th scope="col">Why</th>', rows)


def _table(name: str, title: str, columns: str, rows: list[str]) -> str:
    if not rows:
        return ""
    return (
        f'<section id="{name}"><h2>{title}</h2><div class="scroll"><table><thead><tr>'
        f'<th scope="col">Image</th>{columns}</tr></thead><tbody>{"</tr>".join(rows)}</tr>'
        "</tbody></table></div></section>"
    )


def _settings_rows(settings: Mapping[str, object], prefix: str = "") -> str:
    rows = ""
    for key, value in settings.items():
        if isinstance(value, dict):
            rows += _settings_rows(value, f"{prefix}{key}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            name = html_text(prefix + key)
            rows += f'<tr><th scope="row">{name}</th><td>{html_text(shown)}</td></tr>'
    return rows
