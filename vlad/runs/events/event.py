"""What an event says of an anomalous image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping

import vlad
from vlad.calibration import FUSED
from vlad.results.folder import RunFolder
from vlad.results.rows import Row
from vlad.results.verdicts import Judged
from vlad.system.text import encode, printable

Event = dict[str, object]
_FIELDS = ("p_value", "verdict", "abstain", "severity")


def events_of(folder: RunFolder, rows: Iterable[Row], judged: Judged) -> list[Event]:
    """The events of those rows that are anomalous.

    Args:
        judged: verdicts of the rows, with a column `time`, when each image was read.

    Returns:
        of each: `id`, `time` (ISO 8601, UTC), `path`, `run` (absolute path of the run's folder),
        `vlad` (version), `verdict`, and `heads`: name, or "fused" -> `score`, `p_value` (None
        for a fixed threshold), `verdict`, `abstain`, `severity`, and `kind` where a head names
        the nearest known kind of defect.
    """
    out, columns = os.path.realpath(folder.out), judged.columns
    anomalous = judged.anomalous
    return [
        {
            "id": _id(out, row),
            "time": columns["time"].get(row.path),
            "path": printable(row.path),
            "run": printable(out),
            "vlad": vlad.__version__,
            "verdict": "anomalous",
            "heads": _heads(row, columns),
        }
        for row in rows
        if row.path in anomalous
    ]


def _heads(row: Row, columns: Mapping[str, Mapping[str, object]]) -> dict[str, Event]:
    scores: dict[str, object] = dict(row.scores)
    if FUSED in columns:
        scores[FUSED] = columns[FUSED][row.path]
    return {
        name: {
            "score": score,
            **{key: columns[f"{name}_{key}"][row.path] for key in _FIELDS},
            **({"kind": row.kinds[name]} if name in row.kinds else {}),
        }
        for name, score in scores.items()
    }


def _id(out: str, row: Row) -> str:
    """One name for a run, an image and the state of its file: a repeat has the same one."""
    size, modified = row.state[:2] if row.state else (None, None)
    return hashlib.sha256(encode(f"{out}\0{row.path}\0{size}\0{modified}")).hexdigest()[:32]
