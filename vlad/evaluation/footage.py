"""Metrics of a run over labelled videos, from its scores of frames and its regions."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vlad.datasets.footage import Clip, Truth
from vlad.datasets.footage.tracks import find_tracks, read_tracks
from vlad.datasets.ids import possible_ids
from vlad.errors import InputError
from vlad.evaluation.sampled import sampled
from vlad.metrics import FrameMetrics, frame_metrics, rbdc_tbdc
from vlad.results.eventrules import THRESHOLDS, load_rules
from vlad.results.finished import read_finished
from vlad.results.folder import RunFolder
from vlad.results.framenotes import FILE as NOTES
from vlad.results.framenotes import FrameNote, read_notes
from vlad.system.text import and_more, counted, path_of
from vlad.time import COMBINED

SMOOTHED = "_smoothed"  # ends the column of smoothed scores


@dataclass(frozen=True)
class Measured:
    """The metrics of one column of scores.

    Attributes:
        scores: head, or head_smoothed.
        frames: frame-level metrics.
        rbdc, tbdc: those of the regions of a head; None without tracks or regions.
    """

    scores: str
    frames: FrameMetrics
    rbdc: float | None = None
    tbdc: float | None = None


@dataclass(frozen=True)
class RunMetrics:
    """The metrics of a run.

    Attributes:
        measured: a column each.
        protocol: what they may be compared with.
        notes: sentences about what is left out.
    """

    measured: Sequence[Measured]
    protocol: str
    notes: Sequence[str] = ()


@dataclass
class _Video:
    """The scored frames of a video: their numbers, rows, and scores by column."""

    name: str
    truth: Truth
    numbers: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)


def measure_run(
    run: str | Path,
    clips: Sequence[Clip],
    *,
    tracks: Path | None = None,
    per_video: bool = False,
) -> RunMetrics:
    """Measure a finished run of `vlad video`, or of `vlad score` on folders of frames.

    Args:
        clips: the test videos with their labels; those without a row in the run, and videos of the
            run without labels, are left out and said.
        tracks: folder of tracks of anomalous regions (`vlad.datasets.footage.tracks`), for RBDC and
            TBDC; None takes those of the data set, if it has some.
        per_video: as in `frame_metrics`.

    Raises:
        InputError: no run, one that was stopped, no video of the run has labels, two of one name,
            a file is damaged, or an anomalous video has no tracks while others have.
    """
    # without notes of frames, they were scored as images
    noted = (Path(run) / NOTES).exists()
    folder = RunFolder.open(run) if noted else read_finished(run).folder
    rows, failed = _rows(_noted(folder) if noted else _scored(folder))
    known: dict[str, Clip] = {}
    for clip in clips:
        name = possible_ids((clip.path.name, "_"))[0].partition("/")[0]
        if name in known and name in rows:
            raise InputError(
                f"{known[name].path} and {clip.path} both have labels, but the frames of the run "
                f"are of {name}; keep the labels of the one that was scored."
            )
        known[name] = clip
    videos = []
    for name in sorted(rows.keys() & known.keys()):
        video = _Video(name, known[name].read())
        for path, cells in rows[name]:
            video.numbers.append(int(Path(path).stem))
            video.paths.append(path)
            for column, score in cells.items():
                video.scores.setdefault(column, []).append(score)
        videos.append(video)
    if not videos:
        raise InputError(
            f"no video of {run} has labels (it holds {and_more(sorted(rows), 3)}, the labels are "
            f"of {and_more(sorted(known), 3)}); score the test videos first."
        )
    notes = [
        f"{counted(len(some), 'video')} left out, {why}: {and_more(sorted(some), 3)}."
        for some, why in (
            (known.keys() - rows.keys(), "without scores"),
            (rows.keys() - known.keys(), "without labels"),
        )
        if some
    ]
    notes += sampled(folder, {video.name: video.truth for video in videos})
    if failed:
        notes.append(f"{counted(failed, 'frame')} without a score left out.")
    labels = [video.truth.labels(video.numbers) for video in videos]
    found = {
        column: frame_metrics(
            [video.scores[column] for video in videos], labels, per_video=per_video
        )
        for column in videos[0].scores
    }
    regions = _regions(videos, tracks)
    areas = _areas(folder, videos, regions, notes) if regions is not None else {}
    measured = [Measured(column, one, *areas.get(column, ())) for column, one in found.items()]
    first = measured[0].frames
    frames = sum(len(video.numbers) for video in videos)
    scaling = (
        "scores scaled from 0 to 1 in each video, which looks at whole videos and must not be "
        "compared with figures without it"
        if per_video
        else "scores not scaled per video"
    )
    protocol = (
        f"{counted(frames, 'frame')} of {counted(len(videos), 'video')}; {scaling}; macro is the "
        f"mean over {counted(first.videos, 'video')}, {first.one_class} with normal or anomalous "
        "frames alone left out."
    )
    return RunMetrics(measured, protocol, notes)


def _rows(
    rows: Iterable[tuple[str, dict[str, float | None]]],
) -> tuple[dict[str, list[tuple[str, dict[str, float]]]], int]:
    """Video -> path and scores by column of each scored frame; and the number without a score."""
    found: dict[str, list[tuple[str, dict[str, float]]]] = {}
    parents: dict[str, Path] = {}
    failed = 0
    for path, cells in rows:
        if not Path(path).stem.isdecimal():
            continue  # an image, or a frame of a stream
        scores = {name: score for name, score in cells.items() if score is not None}
        if len(scores) < len(cells):
            failed += 1
            continue
        parent = Path(path).parent
        if (other := parents.setdefault(parent.name, parent)) != parent:
            raise InputError(
                f"Frames of {other} and of {parent} are in one run, and both are called "
                f"{parent.name}; score them into a run each."
            )
        found.setdefault(parent.name, []).append((path, scores))
    return found, failed


def _noted(folder: RunFolder) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Path and scores by column of each frame of a run of `vlad video` or `vlad watch`."""
    with open(folder.scores_csv, newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.DictReader(file)
        there = {*(table.fieldnames or ())}
        heads = [*folder.heads, *({COMBINED} & there)]
        columns = [name for head in heads for name in (head, head + SMOOTHED)]
        if not {*columns} <= there:
            raise InputError(f"the run in {folder.out} was stopped; add `resume` to finish it.")
        for row in table:
            cells = {name: row.get(name) for name in columns}
            yield (
                path_of(row["path"]),
                {name: float(cell) if cell else None for name, cell in cells.items()},
            )


def _scored(folder: RunFolder) -> Iterator[tuple[str, dict[str, float | None]]]:
    """The same of frames that were scored as images."""
    for row in folder.rows.values():
        yield row.path, {head: row.scores.get(head) for head in folder.heads}


def _regions(videos: Sequence[_Video], tracks: Path | None) -> list[np.ndarray] | None:
    """The true regions of each video in the frames that have a score; None without tracks."""
    every: list[np.ndarray] = []
    bare = []
    for video in videos:
        regions = video.truth.regions
        if tracks is not None:
            file = find_tracks(tracks, Path(video.name).stem)
            regions = read_tracks(file) if file else None
        if regions is None:
            regions = np.zeros((0, 6))
            if video.truth.spans:
                bare.append(video.name)
        every.append(regions[np.isin(regions[:, 0], video.numbers)])
    if bare and not any(len(regions) for regions in every):
        if tracks is None:
            return None
        raise InputError(f"{tracks} has no tracks of {and_more(bare, 3)}; give those of this set.")
    if bare:
        raise InputError(f"there are no tracks of {and_more(bare, 3)}; give those of all videos.")
    return every


def _areas(
    folder: RunFolder, videos: Sequence[_Video], regions: Sequence[np.ndarray], notes: list[str]
) -> dict[str, tuple[float, float]]:
    """Head -> RBDC and TBDC, of the heads whose regions the run kept."""
    file = folder.out / THRESHOLDS
    kept = load_rules(file).regions if file.exists() else {}
    frames = read_notes(folder.out)
    found: dict[str, tuple[float, float]] = {}
    for head in folder.heads:
        if head not in kept:
            notes.append(
                f"No RBDC and TBDC of {head}: the run kept no regions, as it had no threshold of "
                "pixels."
            )
            continue
        detections = [_detected(video, head, frames) for video in videos]
        total = sum(len(video.numbers) for video in videos)
        found[head] = rbdc_tbdc(detections, regions, total)
    if found:
        notes.append("RBDC and TBDC are of the regions above the threshold of pixels of the run.")
    return found


def _detected(video: _Video, head: str, notes: Mapping[str, FrameNote]) -> list[list[float]]:
    none = FrameNote("")
    return [
        [number, *box, score]
        for number, path in zip(video.numbers, video.paths, strict=True)
        for box, score in notes.get(path, none).regions.get(head, [])
    ]
