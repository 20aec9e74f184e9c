"""What other machines are told of an anomalous image, or of an event in time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping

import vlad
from vlad.calibration import FUSED
from vlad.results.eventlog import Logged
from vlad.results.eventtable import ENDED, utc
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


def told(folder: RunFolder, one: Logged) -> Event:
    """What is told of an event in time, when it begins and when it has ended.

    Returns:
        `id`, `time` (ISO 8601, UTC, of its first frame, of its last one when it has ended), `run`,
        `vlad`, `event` ("begin" or "end"), `number`, `source`, `head`, `start`, `end` (None while
        it goes on), `ended` (why), `frames` (how many), `first`, `last` and `peak` (of these
        frames `path` and `time`; of the peak also `score`), and `region` (`x`, `y`, `width`,
        `height`; None without regions).
    """
    out = os.path.realpath(folder.out)
    goes_on = one.event.ended is None
    first, last, peak = (
        {"path": printable(path), "time": utc(time)}
        for path, time in zip(one.frames, one.times, strict=True)
    )
    what = "begin" if goes_on else "end"
    key = f"{out}\0{one.source}\0{one.head}\0{one.frames[0]}\0{what}"
    return {
        "id": _digest(key),
        "time": (first if goes_on else last)["time"],
        "run": printable(out),
        "vlad": vlad.__version__,
        "event": what,
        "number": one.number,
        "source": printable(one.source),
        "head": one.head,
        "start": first["time"],
        "end": None if goes_on else last["time"],
        "ended": ENDED[one.event.ended],
        "frames": one.event.frames,
        "first": first,
        "last": last,
        "peak": {**peak, "score": one.event.score},
        "region": one.region
        and dict(zip(("x", "y", "width", "height"), map(float, one.region[0]), strict=True)),
    }


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
    return _digest(f"{out}\0{row.path}\0{size}\0{modified}")


def _digest(key: str) -> str:
    return hashlib.sha256(encode(key)).hexdigest()[:32]
