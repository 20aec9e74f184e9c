"""What differs between two runs as files: a table, a summary and a sheet of heat maps."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from vlad.report.cards import drawn
from vlad.report.charts import decimals, thumbnail
from vlad.report.csp import policy
from vlad.report.style import style
from vlad.results.difference import Change, Difference, HeadDifference
from vlad.results.finished import Finished
from vlad.results.table import csv_bytes
from vlad.system.files import atomic_write
from vlad.system.templates import template
from vlad.system.workspace import Workspace
from vlad.types import Sample

DIFF = Workspace(
    "vlad diff",
    "diff.json",
    ("runs", "settings", "compared", "left_out", "notes", "heads"),
    ("diff.csv", "diff.html"),
)
_HERE = Path(__file__).parent
_SHOWN = 12  # images of a head in the sheet


def write_difference(out: str | Path, a: Finished, b: Finished, found: Difference) -> Path:
    """Write diff.json, diff.csv and diff.html; those of an earlier comparison are replaced.

    Returns:
        diff.html, which holds its images and loads nothing.

    Raises:
        OutputError: the folder holds other files of these names, or cannot be written to.
    """
    out = Path(out)
    DIFF.check(out, overwrite=True)
    DIFF.begin(out, _summary(a, b, found))
    atomic_write(out / "diff.csv", csv_bytes(_table(found)))
    samples = [_samples(run) for run in (a, b)]
    css = style(_HERE / "report.css") + (_HERE / "difference.css").read_text("utf-8")
    page = template(_HERE / "difference.html.j2").stream(
        policy=policy(css, "", "img-src data:"),
        style=css,
        runs=[("A", a.folder), ("B", b.folder)],
        found=found,
        left_out=found.reasons.items(),
        sheets=[_sheet(name, (a, b), samples, head) for name, head in found.heads.items()],
    )
    return atomic_write(out / "diff.html", partial(page.dump, encoding="utf-8"))


def _summary(a: Finished, b: Finished, found: Difference) -> dict[str, Any]:
    return {
        "runs": {"A": _whole(a), "B": _whole(b)},
        "settings": found.settings,
        "compared": found.compared,
        "left_out": found.reasons,
        "notes": found.notes,
        "heads": {
            name: {
                "images": len(head.changes),
                "spearman": head.spearman,
                "kendall": head.kendall,
                "mean_change": head.mean_change,
                "verdicts_changed": sum(head.flips.values()) if head.judged else None,
            }
            for name, head in found.heads.items()
        },
    }


def _whole(run: Finished) -> str:
    """The folder of a run, or its URL."""
    name = str(run.folder)
    return name if "://" in name else os.path.abspath(name)


def _table(found: Difference) -> dict[str, Sequence[object]]:
    """A row for each image and head, then one for each image that is left out."""
    rows: list[tuple[object, ...]] = []
    for name, head in found.heads.items():
        for c in head.changes:
            rows.append((c.paths[0], name, *c.scores, *c.ranks, c.moved, *c.verdicts, None))
    rows += [(path, *[None] * 8, reason) for path, reason in found.left_out.items()]
    names = ["path", "head", "score_a", "score_b", "rank_a", "rank_b", "rank_change"]
    names += ["verdict_a", "verdict_b", "left_out"]
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def _samples(run: Finished) -> dict[str, Sample]:
    """Path -> the image with the id that names its heat maps; empty if the run has none."""
    return {str(s.path): s for s in run.folder.samples()} if run.folder.keeps_maps else {}


def _sheet(
    name: str,
    runs: tuple[Finished, Finished],
    samples: Sequence[Mapping[str, Sample]],
    head: HeadDifference,
) -> dict[str, Any]:
    """The images of a head that changed most, with both heat maps."""
    shown = [change for change in head.changes if change.flipped or change.moved][:_SHOWN]
    digits = decimals([score for change in head.changes for score in change.scores])
    return {
        "head": name,
        "difference": head,
        "cards": [_card(name, runs, samples, digits, change) for change in shown],
    }


def _card(
    head: str,
    runs: tuple[Finished, Finished],
    samples: Sequence[Mapping[str, Sample]],
    digits: int,
    change: Change,
) -> dict[str, Any]:
    sides = []
    for i, run in enumerate(runs):
        sample = samples[i].get(change.paths[i])
        heat = _heat(run.folder.overlay_path(drawn(run.folder, head), sample)) if sample else None
        sides.append(
            {
                "run": "AB"[i],
                "heat": heat,
                "rank": change.ranks[i],
                "score": f"{change.scores[i]:.{digits}f}",
                "verdict": change.verdicts[i],
            }
        )
    *folders, file = Path(change.paths[0]).parts
    folders = ["…", *folders[-2:]] if len(folders) > 2 else folders
    return {"path": change.paths[0], "folders": folders, "file": file, "sides": sides}


def _heat(overlay: Path) -> dict[str, Any] | None:
    """A thumbnail of a heat map; None of one that is missing or damaged."""
    try:
        with Image.open(overlay) as opened:
            return thumbnail(opened)
    except OSError:
        return None
