"""Scoring images as they arrive in a folder, or frames of a video."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from vlad.backbones.backbone import Backbone
from vlad.calibration import Calibration
from vlad.datasets.folder import walk, warn_of_passed
from vlad.datasets.ids import comparable, possible_ids
from vlad.errors import HeadError, InputError
from vlad.heads import Head
from vlad.results.eventlog import FILE as EVENTS
from vlad.results.eventlog import Logged
from vlad.results.eventrules import EventRules, check_rules
from vlad.results.eventtable import TRACKS, utc
from vlad.results.folder import RunFolder
from vlad.results.rows import Row, State
from vlad.results.runjson import SAMPLING
from vlad.results.scales import warn_of_cut
from vlad.results.shared import shared_settings
from vlad.results.verdicts import Judged, decide, judge
from vlad.runs.clips import gap_of, sampling_of
from vlad.runs.drift import DriftWatch
from vlad.runs.events import Channel, couriers_of, events_of
from vlad.runs.eventwatch import EventWatch
from vlad.runs.frames import FOLDER, Footage, Frames
from vlad.runs.run import Reader, keep_scored, score_held_out
from vlad.runs.settings import Settings, prepare, run_folder, without_copies
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Scored, score_samples
from vlad.system.lock import locked
from vlad.types import Sample

Columns = Mapping[str, Mapping[str, object]]


def watch(
    backbone: Backbone,
    heads: Mapping[str, Head],
    source: Path | Footage,
    settings: Settings,
    out: str | Path,
    *,
    interval: float,
    stop: threading.Event,
    on_scored: Callable[[list[Scored], Columns], None],
    on_trouble: Callable[[str], None],
    on_calibrated: Callable[[Calibration], None] = lambda calibration: None,
    on_drift: Callable[[str], None] = lambda sentence: None,
    channels: Sequence[Channel] = (),
    events: EventRules | None = None,
    on_event: Callable[[Logged], None] = lambda event: None,
) -> RunFolder:
    """Score the images below a folder as they arrive, or the frames of a video, until `stop` is set
    or a video file ends.

    An image is scored once, even across restarts, and again if its file changes. A file is read
    once two scans see it unchanged; one that failed is tried again if it changes or comes back, or
    after a restart. What is scored of a video, and how its rows are named: `vlad.runs.frames`.

    Args:
        interval: seconds between two scans of a folder.
        on_scored: called with each finished batch and the verdicts in it.
        on_trouble: called with a sentence when the source cannot be read for now, or events are
            not delivered; also from another thread.
        on_calibrated: called before the first image with the basis of the verdicts, if any.
        on_drift: called with a sentence when images begin or cease to differ from the good ones of
            calibration, or if that cannot be told.
        channels: told of each image that a verdict calls anomalous or, with `events`, of the
            begin and end of each event instead.
        events: finds events in time in a video, with a causal smoothing; they go to events.csv.
        on_event: called with each event when it begins, and when it has ended.

    Raises:
        HeadError: a head that judges images jointly.
        InputError: a source inside `out`; event thresholds that were found with other settings.
        VladError: a problem of the run as a whole.
    """
    written = Path(os.path.realpath(out))
    footage = source if isinstance(source, Footage) else None
    root = written / FOLDER if isinstance(source, Footage) else source
    if not footage and Path(os.path.realpath(root)).is_relative_to(written):
        raise InputError(f"{source} is inside the output folder {out}; choose another folder.")
    settings = without_copies(settings)
    categories = [settings.category]
    panel = prepare(backbone, heads, categories, settings)
    if joint := panel.transductive:
        raise HeadError(
            f"Head {joint[0]} judges all images jointly, but here they come one by one; give musc "
            "a `pool`, april_gan rescale=false, or choose another head."
        )
    folder = run_folder(panel, categories, root, settings, out)
    if footage:
        sampling = folder.settings[SAMPLING] = sampling_of(footage)
        if events:
            check_rules(events, shared_settings(folder.settings), sampling)
    with ExitStack() as held:
        held.enter_context(locked(folder.out))
        folder.resume()
        rules, normals = score_held_out(panel, folder, categories, settings)
        # verdicts of an earlier command are found again
        folder.drop("regions", "holdout", *([] if normals else ["calibration"]))
        calibration = judge(folder, [], rules, normals).calibration if rules else None
        if calibration is None:
            folder.drop("calibration.json")
        else:
            on_calibrated(calibration)
        post = held.enter_context(couriers_of(folder, channels, on_trouble))
        drift = DriftWatch(folder, calibration, on_drift)
        feed: Arrivals | Frames
        reader: Reader | Frames
        if footage:
            most = settings.setup.max_pixels
            frames = Frames(footage, folder, settings.category, most, on_trouble)
            feed = reader = held.enter_context(frames)
        else:
            feed = Arrivals(root, folder, settings.category)
            reader = Reader(settings.setup.open_image)
        moments = None
        folder.drop(EVENTS, TRACKS)
        if isinstance(feed, Frames) and events:
            moments = EventWatch(
                folder,
                feed.source,
                events,
                gap_of(feed.footage, events.gap),
                regions=events.regions or (calibration.map_thresholds if calibration else {}),
                batch=settings.setup.batch_size,
                post=post,
                on_event=on_event,
            )

        def all_columns() -> Columns:
            more = moments.columns() if moments else {}
            return _columns(folder, calibration, folder.rows.values()) | more

        folder.finish([], all_columns())
        rested: Iterable[Sample]
        trouble = None
        while not (stop.is_set() or feed.ended):
            before = time.time_ns()
            batches = 0
            try:
                rested, trouble = feed.look(), None
            except InputError as error:  # such as a network share that is offline
                if str(error) != trouble:
                    on_trouble(f"Waiting: {error}")
                rested, trouble = [], str(error)
            for batch in _score(panel, rested, reader, settings.setup.batch_size):
                rows = [
                    Row(path := str(s.sample.path), s.scores, s.error, reader.states.get(path))
                    for s in batch
                ]
                verdicts = _columns(folder, calibration, rows)
                judged = Judged(calibration, verdicts, {}) if calibration else None
                anomalous = judged.anomalous if judged else set()
                if moments:
                    columns, inside = moments.take(rows, batch)
                    verdicts, anomalous = verdicts | columns, anomalous | inside
                if isinstance(feed, Frames):
                    rows = feed.keep(rows, anomalous)
                if judged and channels and not moments:
                    # before the rows: a stop between them has the images scored again
                    post(events_of(folder, rows, judged))
                keep_scored(folder, batch, reader.states, verdicts)
                if moments:  # after the rows, from which a restart finds them again
                    moments.settle()
                batches += 1
                on_scored(batch, verdicts)
                drift.add(batch)
                if stop.is_set():
                    break
            if moments and feed.ended and not stop.is_set():
                moments.close()
            elif moments and footage and footage.video.live and not batches:
                moments.away(before)
            if not footage:
                _sleep(interval, stop)
        if moments:
            for one in moments.going:
                on_trouble(
                    f"Event {one.number} ({one.head}) goes on; the next start finds its end."
                )
            moments.write_tracks()
        folder.finish([], all_columns())
        warn_of_cut(folder, folder.samples())
    return folder


class Arrivals:
    """The image files below a folder that no longer change and have no score yet.

    Args:
        source: the folder.
        folder: the run; its own files below `source` are left out.
        category: what the images show.
    """

    ended = False  # more may always come

    def __init__(self, source: Path, folder: RunFolder, category: str | None = None):
        self.source = source
        self.category = category
        self.folder = folder
        self.out = os.path.realpath(folder.out) + os.sep
        # by real path, so that a row is found again when the folder is spelled in another way
        self.rows = {os.path.realpath(path): path for path in folder.rows}
        self.names = {comparable(s.id): str(s.path) for s in folder.samples()}
        self.seen: dict[str, State] = {}  # files without a score, as of the last scan
        self.tried: dict[str, State] = {}  # as they were when returned
        self.done: dict[str, State] = {}  # scored, or not images of this folder
        self.passed: set[str] = set()  # not images, as of the last scan
        self.told: set[str] = set()  # the ones already named

    def look(self) -> list[Sample]:
        """Files unchanged since the last scan, the longest unchanged first.

        Raises:
            InputError: the folder cannot be listed.
        """
        seen: dict[str, State] = {}
        before, tried = self.seen, self.tried
        self.seen, self.tried = {}, {}  # files that come back with their folder are new
        files: set[str] = set()  # a link and its target count as one
        passed: list[str] = []
        for path in walk(str(self.source), passed):
            state = State.of(path)
            if state is None:  # moved away since it was listed
                continue
            if path in self.done and state.same(self.done[path]):
                continue
            real = os.path.realpath(path)
            if self._scored(real, state) or real.startswith(self.out):
                self.done[path] = state
                continue
            if real in files:
                continue
            files.add(real)
            seen[path] = state
        self._tell(passed)
        rested = [
            path
            for path, state in seen.items()
            if path in before and state.same(before[path])
            if path not in tried or not state.same(tried[path])
        ]
        self.seen = seen
        self.tried = {p: s for p, s in tried.items() if p in seen} | {p: seen[p] for p in rested}
        return [self._sample(path) for path in sorted(rested, key=lambda p: (seen[p].modified, p))]

    def _scored(self, real: str, state: State) -> bool:
        path, rows = self.rows.get(real), self.folder.rows
        return path is not None and rows.scored(path) and state.same(rows[path].state)

    def _tell(self, passed: list[str]) -> None:
        """Names each file that is no image once, and none that is about to be renamed to one."""
        passed = [p for p in passed if not os.path.realpath(p).startswith(self.out)]
        new = [path for path in passed if path in self.passed and path not in self.told]
        self.passed = set(passed)
        self.told.update(new)
        warn_of_passed(new)

    def _sample(self, path: str) -> Sample:
        row = self.rows.setdefault(os.path.realpath(path), path)
        root, file = os.path.abspath(self.source), os.path.abspath(path)
        for name in possible_ids(Path(os.path.relpath(file, root)).parts):
            # names are given as files arrive, and never change
            if self.names.setdefault(comparable(name), row) == row:
                break
        return Sample(Path(row), name, self.category)


def _score(
    panel: Panel, samples: Iterable[Sample], reader: Reader | Frames, batch_size: int
) -> Iterator[list[Scored]]:
    return score_samples(panel, samples, batch_size=batch_size, open_image=reader)


def _columns(
    folder: RunFolder, calibration: Calibration | None, rows: Collection[Row]
) -> dict[str, dict[str, object]]:
    """The columns beside the scores of these rows: when each was read, and verdicts."""
    times: dict[str, object] = {row.path: utc(row.state.read) for row in rows if row.state}
    if calibration is None:
        return {"time": times}
    good = [row for row in rows if row.error is None and row.scores.keys() >= folder.heads.keys()]
    scores = {head: np.array([row.scores[head] for row in good]) for head in folder.heads}
    return {"time": times, **decide(calibration, [row.path for row in good], scores)}


def _sleep(seconds: float, stop: threading.Event) -> None:
    """Sleep in short pieces: a signal handler must not find the event's lock taken by `wait`."""
    end = time.monotonic() + seconds
    while not stop.is_set() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))
