"""From a finished run to a calibration for other runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from vlad.calibration import FALSE_ALARMS, Calibration, from_labels, from_normals
from vlad.calibration.conformal import least_reference
from vlad.calibration.copies import find_copies, keep_others
from vlad.calibration.drift import with_looks
from vlad.datasets.shots import draw_shots
from vlad.errors import InputError
from vlad.results.folder import RunFolder
from vlad.results.known import known_scores, map_maxima, marks_of
from vlad.results.partitions.images import read_listed
from vlad.results.seen import read_seen
from vlad.results.shared import shared_settings
from vlad.types import Sample

MOST = 5000  # normal images, unless the rate needs more: each is opened and compared with all


def calibrate_run(
    folder: RunFolder,
    levels: Mapping[str, int] | None = None,
    *,
    target: str = "f1",
    false_alarms: float = FALSE_ALARMS,
    suspects: int = 0,
    **options,
) -> Calibration:
    """A calibration from the images of a finished run.

    Args:
        levels: real path -> 0 for normal, 1 or more for how bad; None says that all are normal.
            Images without a level are left out. Of very many images without levels and `suspects`
            some are drawn.
        target: of the threshold, if there are levels.
        false_alarms, suspects: as in `from_normals`.
        options: those of `from_normals` and `from_labels`.

    Raises:
        InputError: a reference image or known defect among them, too few images, or no level for
            any.
    """
    good, _ = known_scores(folder, folder.samples())
    kinds = {"references": "reference image", "known_defects": "known defect"}
    shown = {os.path.realpath(p): kinds[k] for k in kinds for p in folder.settings.get(k, {})}
    for sample in good:
        if kind := shown.get(os.path.realpath(sample.path)):
            raise InputError(
                f"{sample.path} is a {kind} of the run, so its score says nothing about new "
                "images; calibrate on a run over other images."
            )
    if levels is not None:
        good = [sample for sample in good if os.path.realpath(sample.path) in levels]
        if not good:
            raise InputError(
                f"none of the labelled images is in {folder}; label images of that run."
            )
    drawn: list[str] = []
    most = max(MOST, 2 * least_reference(false_alarms))
    if levels is None and not suspects and len(good) > most:  # suspects are those of the whole run
        drawn = [f"{most} of {len(good)} images were drawn to set the threshold."]
        good = draw_shots(good, most, 0)
    open_image = partial(read_listed, bits=folder.settings.get("bits", 16))
    remembered = [*folder.settings.get("references", {}), *folder.settings.get("pool", {})]
    # labelled defects may differ from a normal image by little
    normal = [s for s in good if levels is None or not levels[os.path.realpath(s.path)]]
    marks = marks_of(normal, open_image)
    shown_marks = marks_of((Sample(Path(path), "") for path in remembered), open_image)
    copied = find_copies(shown_marks, marks)
    names = [str(sample.path) for sample in normal]
    kept, notes = keep_others(names, copied, false_alarms if levels is None else None)
    for what, seen in (("images", marks), ("reference images", shown_marks)):
        if unread := sum(one is None for one in seen):
            notes.append(
                f"{unread} of {len(seen)} {what} cannot be opened now, so copies of them stay."
            )
    left_out = {sample.path for sample in normal} - {normal[i].path for i in kept}
    good = [sample for sample in good if sample.path not in left_out]
    _, scores = known_scores(folder, good)
    maxima = map_maxima(folder, good)
    names = [names[i] for i in kept]
    options |= {"settings": shared_settings(folder.settings), "false_alarms": false_alarms}
    options |= {"names": names, "notes": [*drawn, *notes]}
    if levels is None:
        made = from_normals(scores, maxima, suspects=suspects, **options)
    else:
        found = np.array([levels[os.path.realpath(sample.path)] for sample in good])
        made = from_labels(scores, found, maxima, target=target, **options)
    return with_looks(made, read_seen(folder, set(names)))
