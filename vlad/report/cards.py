"""What the report shows of an image, as values for its templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from vlad.errors import ImageError
from vlad.report.charts import GROUPS, thumbnail
from vlad.report.entries import Entry
from vlad.report.verdicts import VerdictView
from vlad.results.folder import RunFolder
from vlad.system.templates import template

_HERE = Path(__file__).parent
_HELD_OUT = 12  # of the held-out normal images of a head that are shown


def drawn(run: RunFolder, name: str) -> str:
    """The head whose heat map is shown: fused heads have none of their own."""
    return name if name in run.heads else next(iter(run.heads))


def write_cards(
    entries: Sequence[Entry],
    limit: int,
    most_bytes: int,
    values: Callable[[Entry], dict[str, Any]],
) -> tuple[list[str], list[Entry]]:
    """The cards of the images that a head ranks worst, and the other images; both in order."""
    card = template(_HERE / "image.html.j2").module.card  # type: ignore[attr-defined]
    cards: dict[int, str] = {}
    used = 0
    by_best_rank = sorted(entries, key=lambda e: (min(e.ranks), e.ranks))
    for entry in by_best_rank[:limit]:
        html = card(values(entry))
        used += len(html)
        if used > most_bytes:
            break
        cards[entry.number] = html
    return [cards[number] for number in sorted(cards)], [
        entry for entry in entries if entry.number not in cards
    ]


def shown(entry: Entry, digits: Mapping[str, int]) -> dict[str, Any]:
    """What a card and a row of the table show of an image."""
    *folders, file = Path(entry.name).parts
    scores = entry.row.scores
    return {
        "path": entry.row.path,
        "name": entry.name,
        "folders": ["…", *folders[-2:]] if len(folders) > 2 else folders,
        "file": file,
        "number": entry.number,
        "scores": [f"{scores[h]:.{n}f}" if h in scores else "–" for h, n in digits.items()],
    }


def card_of(
    run: RunFolder,
    entry: Entry,
    digits: Mapping[str, int],
    open_image: Callable[[Path], Image.Image],
    view: VerdictView,
    interest: str | None,
) -> dict[str, Any]:
    """The card of an image.

    Args:
        interest: the viewBox of the region of interest, if there is one.
    """
    image, sample = shown(entry, digits), entry.sample
    try:
        image["small"] = thumbnail(open_image(sample.path))
    except ImageError:  # scored earlier in the run, deleted since
        image["small"] = None
    image["interest"] = interest
    image["label"] = None
    if sample.label is not None:
        kind, word = GROUPS[sample.label]
        image["label"] = kind, sample.defect or word
    image["parts"] = []
    for head, rank, score in zip(view.names, entry.ranks, image["scores"], strict=True):
        heat, overlay = None, run.overlay_path(drawn(run, head), sample)
        if overlay.exists():
            with Image.open(overlay) as opened:
                heat = thumbnail(opened)
        image["parts"].append(
            {
                "head": head,
                "rank": rank,
                "score": score,
                "heat": heat,
                "regions": view.outlines(drawn(run, head), entry.row.path),
                "verdict": view.line(head, entry.row.path),
                "kind": entry.row.kinds.get(head),
            }
        )
    return image


def strangest(
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
