"""Whether the images of a run still look and score like the good images of its calibration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from vlad.calibration.drift import LEAST, RATE, Drift, compare, why_not
from vlad.results.folder import RunFolder
from vlad.results.seen import read_seen
from vlad.results.verdicts import Judged
from vlad.system.files import atomic_write
from vlad.types import Sample

FILE = "drift.json"
MOST = 1000  # images of a run that are compared, evenly spaced


def write_drift(folder: RunFolder, drift: Drift) -> None:
    """Write what moved into the folder of a run.

    Raises:
        OutputError: the file cannot be written.
    """
    atomic_write(folder.out / FILE, drift_bytes(drift))


def drift_bytes(drift: Drift) -> bytes:
    """The content of drift.json."""
    parts = [{**asdict(part), "words": part.words} for part in drift.parts]
    content = {**asdict(drift), "parts": parts, "drift": bool(drift.moved)}
    content["sentence"] = drift.sentence
    return json.dumps(content, indent=1).encode() + b"\n"


def with_drift(judged: Judged, folder: RunFolder, samples: Sequence[Sample]) -> Judged:
    """The verdicts of a run with whether its images drifted, which is also written.

    All images are compared at once, the defective ones too. Nothing is said where the threshold
    comes from no good images.

    Raises:
        InputError: the calibration knows embeddings of another kind.
        OutputError: drift.json cannot be written.
    """
    calibration = judged.calibration
    if calibration.source not in ("normals", "labels"):
        return judged
    if reason := why_not(calibration):
        return replace(judged, notes=[*judged.notes, reason])
    rows = [folder.rows[p] for s in samples if folder.rows.scored(p := str(s.path))]
    rows = [row for row in rows if row.scores.keys() >= calibration.reference.keys()]
    places = np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(int)
    seen = read_seen(folder, {rows[i].path for i in places})
    rows = [rows[i] for i in places if rows[i].path in seen]
    if len(rows) < LEAST:
        drift = Drift(0, len(next(iter(calibration.reference.values()))), RATE)
    else:
        scores = {head: [row.scores[head] for row in rows] for head in calibration.reference}
        drift = compare(calibration, scores, [seen[row.path] for row in rows], RATE)
    drift = replace(drift, whole=len(samples))
    write_drift(folder, drift)
    return replace(judged, drift=drift)
