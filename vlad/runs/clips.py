"""The frames of video files and folders of frames, scored into the folder of a run."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType

import numpy as np

from vlad.datasets.ids import possible_ids
from vlad.errors import InputError
from vlad.results.eventtable import Series
from vlad.results.folder import RunFolder
from vlad.results.framenotes import FrameNote, append_notes
from vlad.results.regions import find_regions
from vlad.results.rows import Row
from vlad.runs.frames import Footage, Frames
from vlad.runs.motion import with_motion
from vlad.runs.run import keep_scored
from vlad.runs.segments import score_segments
from vlad.runs.settings import Settings
from vlad.scoring.cost import expect
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Scored, score_samples
from vlad.system.progress import Progress
from vlad.time import COMBINED, Smoothing, combine, default_gap
from vlad.time.combined import Scales


def check_names(clips: Sequence[Footage]) -> None:
    """Raise an InputError if two clips have the same name, for it names their rows."""
    names = [os.path.basename(footage.video.name.rstrip("/")) for footage in clips]
    # as rows have them: characters that some systems forbid in names are replaced
    (name, count), *_ = Counter(possible_ids((name, "_"))[0] for name in names).most_common(1)
    name = name.partition("/")[0]
    if count > 1:
        raise InputError(
            f"{count} clips are named {name}, which is what their frames are named by; rename one."
        )


def score_clips(
    panel: Panel,
    folder: RunFolder,
    clips: Sequence[Footage],
    settings: Settings,
    thresholds: Mapping[str, float],
    say: Callable[[str], None],
    verb: str = "scored",
    *,
    moving: Panel | None = None,
    begin: Mapping[str, float] | None = None,
    stop: AbstractContextManager[threading.Event] | None = None,
) -> dict[str, Footage]:
    """Score the frames that have no row yet; a clip that cannot be read is said and left out.

    Args:
        thresholds: head -> the map value above which a pixel belongs to a region.
        say: called with a sentence about a clip.
        moving: scores the change of each frame too; the clips have `motion`.
        begin: head -> the score above which frames are kept where the footage asks for it.
        stop: entered while a live source is read; its event ends the reading.

    Returns:
        what rows are named by -> the clip, of each clip that can be read.

    Raises:
        InputError: no clip can be read, or a live source brought no frame.
        OutputError: a file cannot be written.
    """
    sources: dict[str, Footage] = {}
    # a kill between the two files of a row leaves no time, so its frame comes again
    for row in [row for row in folder.rows.values() if row.state is None]:
        del folder.rows[row.path]
    refused: InputError | None = None
    setup = settings.setup
    for footage in clips:
        frames = Frames(footage, folder, settings.category, setup.max_pixels, say)
        doing = f"{footage.video.name}: {verb}"
        asked = stop if stop and footage.video.live else nullcontext(threading.Event())
        with frames, Progress(None, doing, unit="frames") as progress, asked as stopped:
            ends = time.monotonic() + (footage.duration or math.inf)
            try:
                costs = any(getattr(head, "asked", "") for head in panel.heads.values())
                if costs and not footage.segments and (due := frames.due()):
                    expect(panel, due - frames.done, say)
                while not (frames.ended or stopped.is_set() or time.monotonic() > ends):
                    batches = (
                        score_segments(panel, folder, frames, setup.batch_size)
                        if footage.segments
                        else score_samples(
                            panel, frames.look(), batch_size=setup.batch_size, open_image=frames
                        )
                    )
                    for batch in batches:
                        if moving:
                            batch = with_motion(moving, batch, frames, setup.batch_size)
                        append_notes(folder.out, (_note(scored, thresholds) for scored in batch))
                        _keep(frames, batch, begin or {})
                        keep_scored(folder, batch, frames.states)
                        failed = sum(scored.error is not None for scored in batch)
                        progress.advance(len(batch), failed=failed)
            except InputError as error:
                refused = error
                say(f"Left out: {error}")
                continue
        if footage.video.live and not frames.done:
            refused = InputError(
                f"{footage.video.name} brought no frame; check the camera, or read it for longer."
            )
            continue
        sources[frames.source] = footage
    if refused and not sources:
        raise refused
    return sources


def series_of(
    folder: RunFolder,
    source: str,
    smoothing: Smoothing,
    gap: float | None,
    scales: Scales = MappingProxyType({}),
) -> Series:
    """The scored frames of a source; those with an error are left out.

    Args:
        scales: of the columns that are combined, if any.
        gap: as in `vlad.time`; None finds it from the usual step between frames.
    """
    of_source = [
        (row, row.state.read)
        for row in folder.rows.values()
        if row.state and Path(row.path).parent.name == source
    ]
    kept = [
        (row, read)
        for row, read in of_source
        if row.error is None and row.scores.keys() >= folder.heads.keys()
    ]
    rows = [row for row, _ in kept]
    times = np.array([read for _, read in kept], np.int64)
    seconds = (times - of_source[0][1]) / 1e9
    gap = default_gap(seconds) if gap is None else gap
    scores = {head: np.array([row.scores[head] for row in rows], float) for head in folder.heads}
    if scales:
        scores[COMBINED] = combine(scores, scales)
    smoothed = {head: smoothing(seconds, values, gap) for head, values in scores.items()}
    return Series(source, [row.path for row in rows], times, seconds, scores, smoothed)


def gap_of(footage: Footage, given: float | None) -> float | None:
    """The gap that was given; where only changes are scored, frames that are missing are none."""
    return math.inf if given is None and footage.changes is not None else given


def sampling_of(footage: Footage, motion: object = False) -> dict[str, object]:
    """Which frames are scored, and what the column of motion depends on if there is one, as
    thresholds of events say it."""
    sampling = footage.sampling
    found = {"every": sampling.every, "fps": sampling.fps, "changes": footage.changes}
    return {**found, "motion": motion, "segments": footage.segments}


def _keep(frames: Frames, batch: Sequence[Scored], begin: Mapping[str, float]) -> None:
    """Keep the frames with a score above the one at which an event begins."""
    rows = [
        Row(str(s.sample.path), s.scores, s.error, frames.states[str(s.sample.path)]) for s in batch
    ]
    above = [
        row.path
        for row in rows
        if any(score > begin.get(head, math.inf) for head, score in row.scores.items())
    ]
    frames.keep(rows, above)


def _note(scored: Scored, thresholds: Mapping[str, float]) -> FrameNote:
    maxima = {head: float(found.max()) for head, found in scored.maps.items()}
    regions = {}
    for head, threshold in thresholds.items():
        if maxima.get(head, -math.inf) > threshold:
            found = find_regions(scored.maps[head], threshold, scored.size)
            regions[head] = [(region.box, region.score) for region in found]
    return FrameNote(str(scored.sample.path), maxima, regions)
