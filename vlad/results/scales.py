"""The scales on which a run stores its maps: one for each head, and how many maps exceed it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from vlad.results.maps import largest_cut
from vlad.results.runjson import RUN
from vlad.types import Sample

if TYPE_CHECKING:
    from vlad.results.folder import RunFolder

RANGES = "map_ranges"  # in run.json: head -> (low, high)
CUT = "maps_cut"  # in run.json: head -> number of maps cut at `high`
SLACK = 0.02  # of `high`, by which the same fit may differ on another machine


def continued(
    written: Mapping, ranges: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """The scales for further maps of a run: those it began with, where they are the same fit's.

    Args:
        written: its run.json.
        ranges: head -> scale, as fitted now.
    """
    try:
        began = {head: tuple(written[RANGES][head]) for head in ranges}
        same = all(
            began[head][0] == low and math.isclose(began[head][1], high, rel_tol=SLACK)
            for head, (low, high) in ranges.items()
        )
    except (KeyError, TypeError, IndexError):
        same = False
    return began if same else dict(ranges)


def count_cut(folder: RunFolder, samples: Iterable[Sample]) -> dict[str, int]:
    """Head -> number of maps cut in their files; run.json gets it too.

    Raises:
        InputError: a map is damaged.
        OutputError: run.json cannot be written.
    """
    cut = dict.fromkeys(folder.heads, 0)
    if folder.map_format == "png":
        for sample in samples:
            for head, path in folder.maps(sample).items():
                cut[head] += largest_cut(path) is not None
        folder.settings[CUT] = cut
        RUN.begin(folder.out, folder.settings)
    return cut


def warn_of_cut(
    folder: RunFolder, samples: Iterable[Sample], thresholds: Mapping[str, float] | None = None
) -> None:
    """Count cut maps and say so once, with thresholds that no value in a file can pass.

    Args:
        thresholds: head -> the value above which a pixel belongs to a region.
    """
    for head, count in count_cut(folder, samples).items():
        if count:
            high = folder.heads[head][1]
            were = "map was" if count == 1 else "maps were"
            warnings.warn(
                f"{count} {were} cut at {high:g}, where PNG files of {head} end: parts of these "
                "images differ more from the reference images than its scale, set by those, "
                "expects. Scores and verdicts are not affected; to keep all values, store maps as "
                "npy.",
                stacklevel=2,
            )
    for head, threshold in (thresholds or {}).items():
        high = folder.heads[head][1]
        if folder.map_format == "png" and high <= threshold < math.inf:
            warnings.warn(
                f"No regions of {head} can be found: its map threshold {threshold:g} is not below "
                f"{high:g}, where its PNG maps end; lower it, or store maps as npy.",
                stacklevel=2,
            )
