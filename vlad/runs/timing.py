"""How scores of frames become events: thresholds that are known, or found on normal footage."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vlad.results.eventrules import EventRules
from vlad.results.eventtable import Series
from vlad.results.folder import RunFolder
from vlad.results.framenotes import read_notes
from vlad.results.runjson import SAMPLING
from vlad.runs.clips import gap_of, score_clips, series_of
from vlad.runs.frames import Footage
from vlad.runs.motion import folder_of
from vlad.runs.settings import Settings
from vlad.scoring.panel import Panel
from vlad.time import Hourly, Smoothing, default_gap, from_footage, scale_of
from vlad.time.combined import Scales

CALIBRATION = "calibration"  # folder of the run over normal footage


@dataclass(frozen=True)
class Timing:
    """How scores become events.

    Attributes:
        rules: thresholds that are known; None finds them from normal footage, if there is some.
        normal: normal footage.
        rate: false alarms per hour that the thresholds may give.
        smoothing: of the scores.
        gap: seconds without a frame that end an event; None is 10 usual steps.
        clips: whether events are cut out of their videos.
    """

    rules: EventRules | None = None
    normal: Sequence[Footage] = ()
    rate: float = 1.0
    smoothing: Smoothing = field(default_factory=Smoothing)
    gap: float | None = None
    clips: bool = False


def calibrated(
    panel: Panel,
    moving: Panel | None,
    folder: RunFolder,
    settings: Settings,
    timing: Timing,
    say: Callable[[str], None],
) -> EventRules:
    """Score normal footage, and find the thresholds that it exceeds seldom enough."""
    out = folder.out / CALIBRATION
    settings = replace(settings, map_format="none")
    beside = folder_of(panel, moving, settings, out)
    beside.settings[SAMPLING] = folder.settings[SAMPLING]
    beside = beside.resume()
    verb = "scored, normal footage"
    sources = score_clips(panel, beside, timing.normal, settings, {}, say, verb, moving=moving)
    beside.finish([])
    given = gap_of(timing.normal[0], timing.gap)
    series = [series_of(beside, source, timing.smoothing, given) for source in sources]
    scales = _scales(series) if moving else {}
    if scales:
        series = [series_of(beside, source, timing.smoothing, given, scales) for source in sources]
    gap = given or max(default_gap(one.seconds) for one in series)
    notes = read_notes(beside.out)
    hourly: dict[str, Hourly] = {}
    regions: dict[str, float] = {}
    for column in series[0].smoothed:
        footage = [(one.seconds, one.smoothed[column]) for one in series]
        hourly[column] = from_footage(footage, timing.rate, gap)
    for head in beside.heads:
        maxima = [
            (one.seconds, np.array([notes[path].maxima[head] for path in one.paths]))
            for one in series
            if all(head in notes[path].maxima for path in one.paths)
        ]
        if len(maxima) == len(series):
            regions[head] = from_footage(maxima, timing.rate, gap).threshold
    return EventRules(
        {head: one.threshold for head, one in hourly.items()},
        {head: one.release for head, one in hourly.items()},
        regions,
        timing.smoothing,
        math.inf if given == math.inf else gap,
        folder.settings[SAMPLING],
        hourly=hourly,
        scales=scales,
    )


def _scales(normal: Sequence[Series]) -> Scales:
    """The spread of each column on normal footage; empty without a frame that has scores."""
    columns = {
        head: np.concatenate([one.scores[head] for one in normal]) for head in normal[0].scores
    }
    return {head: scale_of(scores) for head, scores in columns.items() if len(scores)}
