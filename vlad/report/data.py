"""What the script of the report knows of every image, as compact JSON."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlad.report.cards import drawn
from vlad.report.entries import Entry
from vlad.report.verdicts import VerdictView
from vlad.results.folder import RunFolder
from vlad.results.reasons import PARTS, Reasons, without_folders
from vlad.scoring.record import digest_of
from vlad.system.text import counted, printable, shown
from vlad.vlm.words import Words

_TOLD = ("place", "box", "area", "share", "without", "texts", "reference", "reference_note", *PARTS)
_MOST = 5  # regions of an image whose reasons are shown
_CODES = {"anomalous": "a", "normal": "n"}
_SUFFIX = re.compile(r"\.[^./]*$")


def data_of(
    run: RunFolder,
    entries: Sequence[Entry],
    folder: str,
    titles: Mapping[str, str],
    digits: Mapping[str, int],
    view: VerdictView,
    orders: Mapping[str, Sequence[str]],
    reasons: Reasons,
) -> str:
    """The values of all images, a list for each, in the order of `entries`.

    Args:
        folder: the one that names are below, "" if names are paths.
        titles: head -> how it is shown.
        orders: name -> paths of images, as in `write_report`.
        reasons: why images are anomalous, of those for which it is known.

    Returns:
        JSON in ASCII that is safe inside a <script>.
    """
    places = {entry.row.path: entry.number for entry in entries}
    found = {
        "out": shlex.quote(printable(str(run.out))),
        "folder": printable(os.path.join(folder, "")) if folder else "",
        "link": _link(run, folder) if all(_is_below(e.name) for e in entries) else None,
        "separator": os.sep,
        "maps": run.keeps_maps,
        "heads": [
            {
                "name": head,
                "title": title,
                "digits": digits[head],
                "threshold": _finite(view.threshold(head)),
                "drawn": drawn(run, head),
                # fused scores have no threshold to set by hand
                "fused": None if head in run.heads else view.method,
            }
            for head, title in titles.items()
        ],
        "names": [printable(entry.name) for entry in entries],
        # what names the overlays, where it is not the name without its suffix
        "ids": {
            e.number: printable(e.sample.id)
            for e in entries
            if _SUFFIX.sub("", e.name) != e.sample.id
        },
        "digests": [_digest(entry.sample.path) for entry in entries],
        "labels": [entry.sample.label for entry in entries],
        "defects": {e.number: printable(e.sample.defect) for e in entries if e.sample.defect},
        "kinds": {
            e.number: kinds
            for e in entries
            if (kinds := " ".join(filter(None, e.row.kinds.values())))
        },
        "scores": [[_finite(entry.row.scores.get(h)) for entry in entries] for h in titles],
        "ranks": [[entry.ranks[i] for entry in entries] for i in range(len(titles))],
        "verdicts": ["".join(_code(view, h, e.row.path) for e in entries) for h in titles],
        "orders": [
            [name, [places[path] for path in paths if path in places]]
            for name, paths in orders.items()
        ],
        "why": {
            places[path]: {head: _why(one) for head, one in explanations.items()}
            for path, explanations in reasons.found.items()
            if path in places
        },
        "words": {places[p]: _words(one) for p, one in reasons.words.items() if p in places},
    }
    return json.dumps(found, separators=(",", ":")).replace("<", "\\u003c")


def _why(explanation: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of an explanation; the rest is in reasons.jsonl."""
    regions = [
        {key: told[key] for key in _TOLD} for told in map(without_folders, explanation["regions"])
    ]
    found = {"size": explanation["size"], "note": explanation["note"], "regions": regions[:_MOST]}
    if (left := len(regions) - _MOST) > 0:
        found["note"] += f" {counted(left, 'smaller region')}: see reasons.jsonl."
    return found


def _words(words: Words) -> dict[str, str]:
    """What the page shows of a model's words."""
    seen, sentence = words.told()
    return {"model": shown(words.model), "seen": seen, "sentence": sentence}


def _code(view: VerdictView, head: str, path: str) -> str:
    """ "a" or "n" for the verdict, a capital where it is unsure; "-" where nothing was decided."""
    word = view.decided(head, path)
    code = _CODES[word] if word else "-"
    return code.upper() if view.verdict(head, path) == "unsure" else code


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _digest(path: Path) -> str:
    try:
        return digest_of(path)
    except OSError:  # deleted since it was scored
        return ""


def _is_below(name: str) -> bool:
    return not os.path.isabs(name) and not name.startswith("..")


def _link(run: RunFolder, folder: str) -> str | None:
    """The way from report.html to the folder of the images; None to another drive."""
    try:
        way = os.path.relpath(os.path.abspath(folder or "."), os.path.abspath(run.out))
    except ValueError:
        return None
    return printable(Path(way).as_posix()) + "/"
