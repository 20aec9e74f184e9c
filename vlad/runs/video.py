"""One run over video: frames in; scores in time, events, clips and a report out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from vlad.backbones.backbone import Backbone
from vlad.errors import HeadError, InputError
from vlad.heads import Head
from vlad.images.video.cut import cut_clip
from vlad.report.timeline import write_timeline
from vlad.results.eventrules import THRESHOLDS, EventRules, check_regions, check_rules, save_rules
from vlad.results.eventtable import Found, Series, track_of, utc, write_events
from vlad.results.folder import RunFolder
from vlad.results.framenotes import read_notes
from vlad.results.runjson import SAMPLING
from vlad.results.shared import shared_settings
from vlad.runs.changes import keep_changes
from vlad.runs.clips import check_names, gap_of, sampling_of, score_clips, series_of
from vlad.runs.frames import Footage
from vlad.runs.motion import Motion, folder_of, leading
from vlad.runs.peaks import read_peaks
from vlad.runs.segments import check_segments
from vlad.runs.settings import Settings, prepare
from vlad.runs.timing import Timing, calibrated
from vlad.system.lock import locked
from vlad.time import COMBINED, default_gap, find_events


@dataclass(frozen=True)
class VideoRun:
    """A finished run over video; `rules` are None if nothing decides what an event is."""

    folder: RunFolder
    rules: EventRules | None
    found: Sequence[Found]
    report: Path


def score_video(
    backbone: Backbone,
    heads: Mapping[str, Head],
    clips: Sequence[Footage],
    settings: Settings,
    timing: Timing,
    out: str | Path,
    *,
    motion: Motion | None = None,
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
    stop: AbstractContextManager[threading.Event] | None = None,
) -> VideoRun:
    """Score the frames of videos, find events, and write a report.

    Args:
        clips: all with the same sampling; a live source is alone.
        settings: its rules for verdicts of single images are not used.
        motion: scores changes of frames in a column of its own; all footage has `motion` then.
        say: called with a sentence about a clip, also from another thread.
        stop: entered while a live source is read; its event ends the reading before the duration
            has passed.

    Raises:
        HeadError: a head that judges images jointly, or cannot score segments.
        InputError: two clips of one name, no clip that can be read, too little normal footage for
            the rate, thresholds found with other settings, or frames of an earlier command whose
            regions were found above other map values.
        VladError: another problem of the run as a whole.
    """
    check_names(clips)
    if timing.normal:
        check_names(timing.normal)
    settings = replace(settings, rules=None)
    panel = prepare(backbone, heads, [settings.category], settings)
    if joint := panel.transductive:
        raise HeadError(
            f"Head {joint[0]} judges all images jointly, but frames come one by one; give musc a "
            "`pool`, april_gan rescale=false, or choose another head."
        )
    if clips[0].segments:
        say(check_segments(panel))
    moving, record = motion.panel(backbone, settings) if motion else (None, False)
    folder = folder_of(panel, moving, settings, Path(out))
    folder.settings[SAMPLING] = sampling = sampling_of(clips[0], record)
    own = shared_settings(folder.settings)
    if timing.rules:
        check_rules(timing.rules, own, sampling)
    with locked(folder.out):
        folder = folder.resume() if resume else folder.create(overwrite)
        if motion:
            keep_changes(motion.references, folder)
        rules = timing.rules
        if timing.normal:
            found = calibrated(panel, moving, folder, settings, timing, say)
            rules = replace(found, settings=own)
        regions = rules.regions if rules else {}
        if folder.rows:
            check_regions(regions, folder.out)
        if rules:  # before the frames, whose regions are found above its map values
            save_rules(rules, folder.out / THRESHOLDS)
        begin = rules.begin if rules else {}
        videos = score_clips(
            panel, folder, clips, settings, regions, say, moving=moving, begin=begin, stop=stop
        )
        smoothing = rules.smoothing if rules else timing.smoothing
        gap = gap_of(clips[0], rules.gap if rules else timing.gap)
        scales = rules.scales if rules else {}
        series = [series_of(folder, source, smoothing, gap, scales) for source in videos]
        _say_if_apart(series, gap, say)
        events = _events(folder, series, rules, gap) if rules else []
        folder.drop("clips")
        cut = _cut(folder, events, videos, say) if timing.clips else {}
        _write(folder, series, rules, events, cut)
        peaks = read_peaks(events, videos, settings.setup.max_pixels)
        date = f"{datetime.now():%Y-%m-%d %H:%M}"
        report = write_timeline(folder, series, rules, events, peaks, cut, date)
    return VideoRun(folder, rules, events, report)


def _say_if_apart(series: Sequence[Series], gap: float | None, say: Callable[[str], None]) -> None:
    """Say where the gap ends an event after each frame, as that of denser footage may."""
    for one in series:
        step = float(np.median(np.diff(one.seconds))) if len(one.seconds) > 1 else 0.0
        if gap is not None and step > gap:
            say(
                f"{one.source}: frames are {step:.3g} s apart, over the gap of {gap:.3g} s, so "
                "none is smoothed and each event is one frame; choose a longer gap."
            )


def _events(
    folder: RunFolder, series: Sequence[Series], rules: EventRules, gap: float | None
) -> list[Found]:
    events = [
        (one, head, event)
        for one in series
        for head, begin in rules.begin.items()
        for event in find_events(
            one.seconds,
            one.smoothed[head],
            begin,
            rules.end[head],
            default_gap(one.seconds) if gap is None else gap,
        )
    ]
    inside = {path for one, _, event in events for path in one.paths[event.first : event.last + 1]}
    notes = read_notes(folder.out, inside)
    return [
        Found(one, head, event, track_of(event, leading(one, head, event, rules), one.paths, notes))
        for one, head, event in events
    ]


def _cut(
    folder: RunFolder,
    found: Sequence[Found],
    videos: Mapping[str, Footage],
    say: Callable[[str], None],
) -> dict[int, str]:
    """Cut events out -> place of an event -> its clip, relative to the folder."""
    cut = {}
    shown = {one.series.source: videos[one.series.source].video for one in found}
    for video in shown.values():
        if video.rate is not None:
            say(f"{video.name} is a folder of frames, so no clips are cut from it.")
    for place, one in enumerate(found):
        video = shown[one.series.source]
        if video.rate is not None:
            continue
        try:
            clip = cut_clip(
                video, one.event.start, one.event.end, folder.out / "clips" / f"{place + 1:04}"
            )
        except InputError as error:
            say(str(error))
            continue
        cut[place] = clip.relative_to(folder.out).as_posix()
    return cut


def _write(
    folder: RunFolder,
    series: Sequence[Series],
    rules: EventRules | None,
    found: Sequence[Found],
    cut: Mapping[int, str],
) -> None:
    """Write scores with their times, and events."""
    columns: dict[str, dict[str, object]] = {"time": {}, "seconds": {}}
    for one in series:
        columns["time"] |= zip(one.paths, map(utc, one.times), strict=True)
        columns["seconds"] |= zip(one.paths, one.seconds.tolist(), strict=True)
        if COMBINED in one.scores:
            combined = columns.setdefault(COMBINED, {})
            combined |= zip(one.paths, one.scores[COMBINED].tolist(), strict=True)
        for head, values in one.smoothed.items():
            smooth = columns.setdefault(f"{head}_smoothed", {})
            smooth |= zip(one.paths, values.tolist(), strict=True)
    for number, item in enumerate(found, 1):
        paths = item.series.paths[item.event.first : item.event.last + 1]
        columns.setdefault(f"{item.head}_event", {}).update(dict.fromkeys(paths, number))
    folder.finish([], columns)
    folder.drop("events.csv", "tracks.csv", *([] if rules else [THRESHOLDS]))
    if rules:
        write_events(folder.out, found, cut)
