"""Which labelled frames of videos a run has scored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vlad.datasets.footage import Truth
from vlad.results.folder import RunFolder
from vlad.results.runjson import SAMPLING
from vlad.system.text import and_more, counted


def sampled(folder: RunFolder, truths: Mapping[str, Truth]) -> list[str]:
    """Sentences about frames that have a label or a score but not both, or not for sure the same.

    Args:
        folder: a run of `vlad video`.
        truths: video, as its rows name it -> its labels.
    """
    sampling = folder.settings.get(SAMPLING)
    if sampling is None:  # which frames should be there is not known
        return []
    if sampling["every"] > 1 or sampling["fps"] is not None or sampling["changes"] is not None:
        return ["Only some of the frames were scored, so figures over all frames do not compare."]
    times: dict[str, dict[int, int]] = {name: {} for name in truths}
    for path, row in folder.rows.items():
        name, number = Path(path).parent.name, Path(path).stem
        if name in times and number.isdecimal() and row.state:
            times[name][int(number)] = row.state.read
    counts = {name: max(own, default=-1) + 1 for name, own in times.items()}
    notes = []
    if other := [name for name, truth in truths.items() if not truth.fits(counts[name])]:
        notes.append(
            f"{counted(len(other), 'video')} with another number of frames than labels: "
            f"{and_more(other, 3)}; check that the labels are theirs."
        )
    lost = {name: counts[name] - len(own) for name, own in times.items()}
    if some := [name for name, count in lost.items() if count]:
        notes.append(
            f"{counted(sum(lost.values()), 'frame')} of {and_more(some, 3)} could not be decoded "
            "and have no score; the frames after them keep their labels."
        )
    if uneven := [name for name, own in times.items() if _uneven(own)]:
        notes.append(
            f"The frames of {and_more(uneven, 3)} do not come at even times: if some were lost "
            "before the file was written, later labels are of other frames; check them."
        )
    return notes


def _uneven(times: Mapping[int, int]) -> bool:
    """Whether a frame comes a whole step or more away from the time that its number says, ns."""
    numbers, stamps = np.array([*times]), np.array([*times.values()])
    if len(numbers) < 3:
        return False
    step = np.median(np.diff(stamps) / np.diff(numbers))
    off = (stamps - stamps[0]) / max(step, 1.0) - (numbers - numbers[0])
    return bool(np.abs(off).max() >= 1)
