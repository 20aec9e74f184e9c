"""vlad video: score the frames of videos, and find events in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vlad.commands.options import say_if_trial
from vlad.commands.options.option import option
from vlad.commands.options.scoring import Scoring, ScoringCommand, model_options, plan_of
from vlad.commands.options.video import FRAME_RATE, sampling_options

if TYPE_CHECKING:
    from vlad.calibration import Calibration
    from vlad.commands.options.scoring import Plan
    from vlad.images.video import Video
    from vlad.results.eventrules import EventRules
    from vlad.runs.frames import Footage
    from vlad.time import Smoothing

DEFAULT_RATE = 25.0  # images a second of a folder of frames


@click.command(cls=ScoringCommand)
@click.argument("clips", nargs=-1, required=True, metavar="CLIP|DIR...")
@model_options
@sampling_options
@FRAME_RATE
@option(
    "--normal-footage CLIP|DIR",
    "Video without anomalies, to set the thresholds on; may be repeated.",
    multiple=True,
)
@option(
    "--alarms-per-hour RATE",
    "False alarms per hour that the thresholds may give, with --normal-footage.  [default: 1]",
    type=click.FloatRange(min=0, min_open=True),
)
@option(
    "--motion CLIP|DIR",
    "Score how frames change, against the changes in this video without anomalies.",
)
@option("--thresholds FILE", "Use thresholds.json of an earlier run with --normal-footage.")
@option("--begin-above NUMBER", "An event begins above this smoothed score.", type=float)
@option(
    "--end-below NUMBER",
    "An event ends at or below this smoothed score.  [default: that of --begin-above]",
    type=float,
)
@option(
    "--map-threshold NUMBER",
    "Pixels above NUMBER form regions.  [default: set with the threshold]",
    type=float,
)
@option(
    "--smooth none|ewma=SECONDS|gaussian=SECONDS",
    (
        "Smooth scores over time: ewma uses earlier frames only, gaussian earlier and later ones.  "
        "[default: gaussian=1]"
    ),
)
@option(
    "--gap SECONDS",
    "Time without a frame that ends an event.  [default: 10 usual steps, at least 1 s]",
    type=click.FloatRange(min=0, min_open=True),
)
@option("--clips", "Cut each event out of its video.", "cut")
@option("--out DIR", "Output folder.", required=True)
@option("--resume", "Continue an interrupted run; nothing is scored twice.")
@option("--overwrite", "Delete the run in the output folder first.")
def video(
    clips: tuple[str, ...],
    scoring: Scoring,
    every: int | None,
    fps: float | None,
    changes: float | None,
    frame_rate: float | None,
    normal_footage: tuple[str, ...],
    motion: str | None,
    alarms_per_hour: float | None,
    thresholds: str | None,
    begin_above: float | None,
    end_below: float | None,
    map_threshold: float | None,
    smooth: str | None,
    gap: float | None,
    cut: bool,
    out: str,
    resume: bool,
    overwrite: bool,
) -> None:
    """Score the frames of videos; write scores, events and a report.

    CLIP is a video file, DIR a folder of frames in the order of their names. An event begins when
    the smoothed score rises above one threshold and ends when it falls to another; both come from
    --normal-footage, --thresholds, numbers, or the calibration of --detector. For streams and
    cameras, use `vlad watch`.

    \b
    vlad video clip.mp4 --normal good/ --fps 5 --out runs/clip
    vlad video clip.mp4 --detector nut/ --fps 5 --normal-footage quiet.mp4 --out runs/clip
    vlad video b.mp4 --detector nut/ --fps 5 --thresholds runs/clip/thresholds.json --out runs/b
    """
    from dataclasses import replace
    from pathlib import Path

    from vlad.errors import InputError
    from vlad.images.video import Sampling
    from vlad.results.runjson import RUN
    from vlad.runs.changes import write_changes
    from vlad.runs.frames import Footage
    from vlad.runs.video import Timing, score_video
    from vlad.system.text import counted, shown
    from vlad.time import Smoothing

    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other; leave one out.")
    numbers = begin_above is not None
    if sum([bool(normal_footage), bool(thresholds), numbers]) > 1:
        raise InputError(
            "--normal-footage, --thresholds and --begin-above each set when an event begins; give "
            "one of them."
        )
    if alarms_per_hour is not None and not normal_footage:
        raise InputError("--alarms-per-hour needs footage to count in; add --normal-footage.")
    if end_below is not None and not numbers:
        raise InputError("--end-below is for --begin-above; add it, or leave --end-below out.")
    if thresholds and (smooth or gap is not None or map_threshold is not None):
        raise InputError(
            "--thresholds brings its smoothing, gap and map threshold; leave out --smooth, --gap "
            "and --map-threshold."
        )
    if map_threshold is not None and normal_footage:
        raise InputError("--normal-footage sets the map threshold; leave out --map-threshold.")
    RUN.check(out, resume=resume, overwrite=overwrite)
    given = [video_of(clip, frame_rate) for clip in clips]
    quiet = [video_of(clip, frame_rate) for clip in normal_footage]
    if frame_rate is not None and all(one.rate is None for one in (*given, *quiet)):
        raise InputError("--frame-rate is for a folder of frames; leave it out.")
    sampling = Sampling(every or 1, fps)

    def footage(videos: list[Video]) -> list[Footage]:
        return [Footage(one, sampling, changes, "none", bool(motion)) for one in videos]

    if motion:
        if scoring.normals or scoring.detector:
            raise InputError(
                "--motion brings its own normal images, changes between frames; leave out --normal "
                "and --detector."
            )
        still = footage([video_of(motion, frame_rate)])[0]
        folder = write_changes(still, Path(out), scoring.common.setup.max_pixels)
        scoring = replace(scoring, normals=(str(folder),))
    plan = plan_of(scoring, images=0)
    smoothing = Smoothing.of(smooth or "gaussian=1")
    rules = None
    if not normal_footage:
        rules = _rules(plan, thresholds, begin_above, end_below, map_threshold, smoothing, gap)
    timing = Timing(rules, footage(quiet), alarms_per_hour or 1.0, smoothing, gap, cut)
    backbone = plan.open_backbone()
    try:
        done = score_video(
            backbone,
            plan.heads,
            footage(given),
            plan.settings,
            timing,
            out,
            resume=resume,
            overwrite=overwrite,
            say=lambda words: click.echo(shown(words, keep=" "), err=True),
        )
    except KeyboardInterrupt:
        kept = f" Finished rows are kept in {out}; add --resume to continue."
        click.echo("Stopped." + (kept if RUN.holds(out) else ""), err=True)
        raise SystemExit(130) from None
    if done.rules is None:
        click.echo("No events: nothing decides what one is; add --normal-footage or --begin-above.")
    else:
        click.echo(done.rules.smoothing.sentence)
        if done.rules.note:
            click.echo(done.rules.note)
        for head, begin in done.rules.begin.items():
            count = sum(one.head == head for one in done.found)
            click.echo(f"{head}: {counted(count, 'event')}, above {begin:.6g}")
            if one := done.rules.hourly.get(head):
                click.echo(one.sentence)
        click.echo(f"Events: {Path(out) / 'events.csv'}")
    rows = done.folder.rows
    scored = f"{counted(len(rows) - rows.failed, 'frame')} scored"
    if rows.failed:
        scored += f", {rows.failed} failed (see the column error)"
    click.echo(f"{scored}: {done.folder.scores_csv}\nReport: {done.report}")
    say_if_trial(backbone)


def video_of(given: str, frame_rate: float | None) -> Video:
    """A video file, or a folder of frames."""
    from pathlib import Path

    from vlad.errors import InputError
    from vlad.images.video import Video, check_video

    folder = Path(given).expanduser()
    if folder.is_dir():
        return Video.of_folder(folder, frame_rate or DEFAULT_RATE)
    found = Video.of(given)
    if found is None:
        raise InputError(
            f"{given} is no video file and no folder of frames; check the path, or give images to "
            "vlad score."
        )
    if found.live:
        raise InputError(f"{found.name} is a stream or camera; use vlad watch for it.")
    check_video(found)
    return found


def _rules(
    plan: Plan,
    thresholds: str | None,
    begin: float | None,
    end: float | None,
    map_threshold: float | None,
    smoothing: Smoothing,
    gap: float | None,
) -> EventRules | None:
    """What is known of thresholds before anything is scored."""
    from vlad.errors import InputError
    from vlad.results.eventrules import EventRules, load_rules

    if thresholds:
        rules = load_rules(thresholds)
        if set(rules.begin) != set(plan.heads):
            raise InputError(
                f"{thresholds} is for {', '.join(rules.begin)}, but the heads are "
                f"{', '.join(plan.heads)}; name the same with --head."
            )
        return rules
    own = getattr(plan.detector, "calibration_", None)
    if begin is None and own is not None:
        return _of_detector(own, map_threshold, smoothing, gap)
    if begin is None:
        if map_threshold is not None:
            raise InputError("--map-threshold is for --begin-above; add it, or leave it out.")
        return None
    if len(plan.heads) > 1:
        raise InputError(
            f"--begin-above is for one head, but there are {len(plan.heads)}; name one with --head."
        )
    (head,) = plan.heads
    release = begin if end is None else end
    if release > begin:
        raise InputError(
            f"--end-below {release:g} is above --begin-above {begin:g}; give one that is lower."
        )
    regions = {} if map_threshold is None else {head: map_threshold}
    if own is not None and not regions:
        regions = dict(own.map_thresholds)
    return EventRules({head: begin}, {head: release}, regions, smoothing, gap)


def _of_detector(
    calibration: Calibration, map_threshold: float | None, smoothing: Smoothing, gap: float | None
) -> EventRules:
    """The threshold of a saved detector, as that of events."""
    from vlad.results.eventrules import EventRules

    (head,) = calibration.reference
    begin = {head: calibration.thresholds[head]}
    regions = dict(calibration.map_thresholds) if map_threshold is None else {head: map_threshold}
    note = (
        "The threshold is that of the detector, set on single images: it promises no rate of "
        "false alarms per hour. For that, give --normal-footage."
    )
    settings = calibration.settings
    return EventRules(begin, begin, regions, smoothing, gap, settings=settings, note=note)
