"""vlad video: score the frames of videos, and find events in time."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options import say_if_trial
from vlad.commands.options.events import Deciding, check_deciding, event_options, rules_of
from vlad.commands.options.option import option
from vlad.commands.options.scoring import Scoring, ScoringCommand, model_options, plan_of
from vlad.commands.options.video import FRAME_RATE, sampling_options
from vlad.errors import InputError
from vlad.system.text import counted, shown

if TYPE_CHECKING:
    from vlad.images.video import Video
    from vlad.runs.frames import Footage, Keep

DEFAULT_RATE = 25.0  # images a second of a folder of frames


@click.command(cls=ScoringCommand)
@click.argument("clips", nargs=-1, required=True, metavar="CLIP|DIR|STREAM...")
@model_options
@sampling_options
@FRAME_RATE
@option(
    "--duration SECONDS",
    "Time to read a stream or camera.  [default: until Ctrl-C]",
    type=click.FloatRange(min=0, min_open=True),
)
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
    "Also score how frames change, against the changes in this video without anomalies.",
)
@option(
    "--segments",
    "Score segments of frames with head flashback (1 s) or vlm (16 frames) instead of each frame.",
)
@option(
    "--map-threshold NUMBER",
    "Pixels above NUMBER form regions.  [default: set with the threshold]",
    type=float,
)
@event_options
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
    duration: float | None,
    normal_footage: tuple[str, ...],
    motion: str | None,
    segments: bool,
    alarms_per_hour: float | None,
    map_threshold: float | None,
    deciding: Deciding,
    cut: bool,
    out: str,
    resume: bool,
    overwrite: bool,
) -> None:
    """Score the frames of videos; write scores, events and a report.

    CLIP is a video file, DIR a folder of frames in the order of their names, STREAM a URL
    (rtsp://, http://) or the number of a camera, read until --duration or Ctrl-C. An event begins
    when the smoothed score rises above one threshold and ends when it falls to another; both come
    from --normal-footage, --thresholds, numbers, or the calibration of --detector. To be told of
    events as they happen, use `vlad watch`.

    \b
    vlad video clip.mp4 --normal good/ --fps 5 --out runs/clip
    vlad video clip.mp4 --detector nut/ --fps 5 --normal-footage quiet.mp4 --out runs/clip
    vlad video b.mp4 --detector nut/ --fps 5 --thresholds runs/clip/thresholds.json --out runs/b
    vlad video rtsp://camera/line --detector nut/ --fps 2 --duration 600 --out runs/line
    """
    from tempfile import TemporaryDirectory

    from vlad.datasets import list_samples
    from vlad.images.video import Sampling
    from vlad.results.runjson import RUN
    from vlad.runs.changes import write_changes
    from vlad.runs.frames import Footage
    from vlad.runs.motion import Motion, columns_of, head_beside
    from vlad.runs.video import Timing, score_video
    from vlad.system.signals import interruptible
    from vlad.time import Smoothing

    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other; leave one out.")
    numbers = deciding.begin_above is not None
    if sum([bool(normal_footage), bool(deciding.thresholds), numbers]) > 1:
        raise InputError(
            "--normal-footage, --thresholds and --begin-above each set when an event begins; give "
            "one of them."
        )
    if alarms_per_hour is not None and not normal_footage:
        raise InputError("--alarms-per-hour needs footage to count in; add --normal-footage.")
    if motion and numbers:
        raise InputError(
            "--begin-above is for one column of scores, but --motion adds another; give "
            "--normal-footage."
        )
    check_deciding(deciding, map_threshold)
    if map_threshold is not None and normal_footage:
        raise InputError("--normal-footage sets the map threshold; leave out --map-threshold.")
    RUN.check(out, resume=resume, overwrite=overwrite)
    given = _readable(clips, frame_rate, live=True)
    live = any(one.live for one in given)
    if live and (len(clips) > 1 or motion or cut):
        raise InputError(
            "A stream or camera is scored alone, and neither by --motion nor with --clips, which "
            "read it again; leave the others out, or record it to a file."
        )
    if live and segments:
        raise InputError("--segments are of whole videos; leave it out, or record to a file.")
    if duration is not None and not live:
        raise InputError("--duration is for a stream or camera; leave it out.")
    quiet = _readable(normal_footage, frame_rate)
    if frame_rate is not None and all(one.rate is None for one in (*given, *quiet)):
        raise InputError("--frame-rate is for a folder of frames; leave it out.")
    sampling = Sampling(every or 1, fps)

    def say(words: str) -> None:
        click.echo(shown(words, keep=" "), err=True)

    def footage(videos: list[Video]) -> list[Footage]:
        keep: Keep = "anomalous" if live else "none"  # what cannot be read again
        rest = keep, bool(motion), segments, duration
        return [Footage(one, sampling, changes, *rest) for one in videos]

    plan = plan_of(scoring, images=0)
    smoothing = Smoothing.of(deciding.smooth or "gaussian=1")
    columns, rules = columns_of(plan.heads, bool(motion)), None
    if not normal_footage:
        rules = rules_of(deciding, plan, smoothing, map_threshold, columns)
    moving = None
    if motion:
        if segments:
            raise InputError("--motion scores single frames; leave out --segments.")
        still = footage([video_of(motion, frame_rate)])[0]
        if any(
            os.path.realpath(one.address) == os.path.realpath(still.video.address) for one in quiet
        ):
            raise InputError(
                f"{motion} is given with --motion and --normal-footage, but the head remembers its "
                "changes, so thresholds from it would be too low; give other normal footage."
            )
        mover = head_beside(plan.heads)
        aside = click.get_current_context().with_resource(TemporaryDirectory())
        write_changes(still, Path(aside), plan.settings.setup, say)
        moving = Motion(mover, list_samples([aside]))
    timing = Timing(rules, footage(quiet), alarms_per_hour or 1.0, smoothing, deciding.gap, cut)
    backbone = plan.open_backbone()
    try:
        done = score_video(
            backbone,
            plan.heads,
            footage(given),
            plan.settings,
            timing,
            out,
            motion=moving,
            resume=resume,
            overwrite=overwrite,
            say=say,
            # Ctrl-C ends a stream as the end of a file does
            stop=interruptible(signal.SIGINT, signal.SIGTERM),
        )
    except KeyboardInterrupt:
        kept = f" Finished rows are kept in {out}; add --resume to continue."
        click.echo("Stopped." + (kept if RUN.holds(out) else ""), err=True)
        raise SystemExit(130) from None
    if done.rules is None:
        more = "" if motion else " or --begin-above"
        click.echo(f"No events: nothing decides what one is; add --normal-footage{more}.")
    else:
        click.echo(done.rules.smoothing.sentence)
        if done.rules.note:
            click.echo(done.rules.note)
        for head, begin in done.rules.begin.items():
            count = sum(one.head == head for one in done.found)
            click.echo(f"{head}: {counted(count, 'event')}, above {begin:.6g}")
            if one := done.rules.hourly.get(head):
                click.echo(one.sentence)
        for head in done.folder.heads.keys() - done.rules.begin.keys():
            click.echo(f"{head}: no events, for it has no threshold; add --normal-footage.")
        click.echo(f"Events: {Path(out) / 'events.csv'}")
    rows = done.folder.rows
    scored = f"{counted(len(rows) - rows.failed, 'frame')} scored"
    if rows.failed:
        scored += f", {rows.failed} failed (see the column error)"
    click.echo(f"{scored}: {done.folder.scores_csv}\nReport: {done.report}")
    say_if_trial(backbone)


def video_of(given: str, frame_rate: float | None) -> Video:
    """A video file that can be read, or a folder of frames."""
    from vlad.images.video import check_video

    found = _named(given, frame_rate)
    if found.rate is None:
        check_video(found)
    return found


def _readable(given: tuple[str, ...], frame_rate: float | None, live: bool = False) -> list[Video]:
    """Those that can be read; the others are said, unless there is none.

    Args:
        live: whether streams and cameras are taken.
    """
    from vlad.images.video import check_video

    found, refused = [], []
    for one in [_named(path, frame_rate, live) for path in given]:
        try:
            if one.rate is None:
                check_video(one)
            found.append(one)
        except InputError as error:
            refused.append(error)
    if refused and not found:
        raise refused[0]
    for why in refused:
        click.echo(shown(f"Left out: {why}", keep=" "), err=True)
    return found


def _named(given: str, frame_rate: float | None, live: bool = False) -> Video:
    """A video file or a folder of frames of this name; a stream or camera too if `live`."""
    from vlad.images.video import Video

    folder = Path(given).expanduser()
    if folder.is_dir():
        return Video.of_folder(folder, frame_rate or DEFAULT_RATE)
    found = Video.of(given)
    if found is None:
        raise InputError(
            f"{given} is no video file and no folder of frames; check the path, or give images to "
            "vlad score."
        )
    if found.live and not live:
        raise InputError(f"{found.name} is a stream or camera; give a recording of it.")
    return found
