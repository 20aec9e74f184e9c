"""vlad score: images in; scores, maps, overlays and a report out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options import say_if_trial
from vlad.commands.options.boxes import box_model_option, boxes_option, check_boxes, open_box_model
from vlad.commands.options.option import option
from vlad.commands.options.scoring import Scoring, ScoringCommand, plan_of, scoring_options
from vlad.commands.options.verdicts import holdout_option
from vlad.commands.options.video import sampling_options
from vlad.commands.options.vlm import VlmOptions, vlm_options
from vlad.errors import InputError
from vlad.system.text import counted, shown

if TYPE_CHECKING:
    from vlad.runs.settings import Settings
    from vlad.types import Sample

VIDEOS = (
    ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv",
    ".ts", ".webm", ".wmv",
)  # fmt: skip


@click.command(cls=ScoringCommand)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@scoring_options
@boxes_option
@box_model_option
@holdout_option
@sampling_options
@option("--out DIR", "Output folder; with --engine ray also a URL.", required=True)
@option("--resume", "Continue an interrupted run; nothing is scored twice.")
@option("--overwrite", "Delete the run in the output folder first.")
@option(
    "--explain",
    "Show in the report why images are flagged; without a threshold, of the 20 highest.",
)
@vlm_options
@option(
    "--engine",
    "ray uses many processes or machines and writes only scores, as Parquet files.",
    type=click.Choice(["local", "ray"]),
    default="local",
)
@option(
    "--workers N",
    "Scoring processes for --engine ray.  [default: one per core or GPU]",
    type=click.IntRange(min=1),
)
@option("--fail", "Exit with code 1 if any image could not be scored.")
@option(
    "--fail-on", "Exit with code 1 if any image is anomalous.", type=click.Choice(["anomalous"])
)
def score(
    paths: tuple[str, ...],
    scoring: Scoring,
    boxes: str | None,
    boxes_model: str | None,
    holdouts: tuple[str, ...],
    every: int | None,
    fps: float | None,
    changes: float | None,
    out: str,
    resume: bool,
    overwrite: bool,
    explain: bool,
    vlm: VlmOptions,
    engine: str,
    workers: int | None,
    fail: bool,
    fail_on: str | None,
) -> None:
    """Score images; write scores, heat maps and a report.

    PATH is a file, a folder, a pattern, or a CSV manifest with a column `path`; or a video file,
    whose frames are written to the output folder and scored. With --engine ray it may also be a
    URL, such as s3://bucket/parts, or a Parquet file with a column `path`.

    \b
    vlad score parts/ --out runs/parts
    vlad score parts/ --category hazelnut --out runs/parts
    vlad score parts/ --normal good/ --k-shot 4 --head memory --out runs/parts
    vlad score parts/ --normal good/ --threshold auto --explain --out runs/parts
    """
    from vlad.datasets import list_samples
    from vlad.results.runjson import RUN
    from vlad.results.verdicts import summary
    from vlad.runs.run import run

    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other; leave one out.")
    if fail_on and not scoring.judging.wanted:
        raise InputError("--fail-on anomalous needs verdicts; add --threshold auto.")
    if vlm.model and not explain:
        raise InputError("--vlm adds words to reasons; add --explain, or leave --vlm out.")
    if engine == "ray":
        given: dict[str, object] = {"boxes": boxes, "boxes-model": boxes_model}
        given |= {"holdout-normal": holdouts, "explain": explain}
        given |= {"every": every, "fps": fps, "changes": changes}
        given |= {"vlm-model": vlm.name, "vlm-rate": vlm.rate}
        if said := [name for name, value in given.items() if value]:
            raise InputError(f"--{said[0]} is for --engine local; leave one of the two out.")
        from vlad.commands.ray import score_on_ray, status

        images = score_on_ray(paths, scoring, out, workers, resume=resume, overwrite=overwrite)
        failed, found = status(out, images) if fail or fail_on else (0, False)
        raise SystemExit(int((fail and failed > 0) or (fail_on is not None and found)))
    if workers:
        raise InputError("--workers is for --engine ray; add it, or leave --workers out.")
    if "://" in out:
        raise InputError(f"Only --engine ray writes to a URL such as {out}; choose a folder.")
    RUN.check(out, resume=resume, overwrite=overwrite)
    # what an earlier run wrote below the images is not input
    sampling = (every, fps, changes)
    samples = _frames(paths, scoring, sampling, out) or list_samples(paths, out)
    if not samples:
        raise InputError(f"All these images are in the output folder {out}; choose another.")
    plan = plan_of(scoring, len(samples), any(sample.category for sample in samples))
    settings = plan.settings
    if holdouts:
        settings = _with_holdout(settings, holdouts)
    common = replace(scoring.common, setup=settings.setup)
    check_boxes(plan.heads, common, boxes, boxes_model)
    if boxes:
        samples, settings = _boxed(samples, settings, boxes)
    backbone = plan.open_backbone()
    if box_model := open_box_model(boxes_model, backbone):
        settings = replace(settings, boxes=box_model.identity, box_model=box_model)
    model = vlm.open(settings.setup.device)
    try:
        result = run(
            backbone,
            plan.heads,
            samples,
            settings,
            out,
            resume=resume,
            overwrite=overwrite,
            explain=explain,
            vlm=model,
        )
    except KeyboardInterrupt:
        kept = f" Finished rows are kept in {out}; add --resume to continue."
        click.echo("Stopped." + (kept if RUN.holds(out) else ""), err=True)
        raise SystemExit(130) from None
    for name, made in plan.heads.items():
        if made.transductive:
            click.echo(f"Scores of {name} are transductive: they depend on all images of the run.")
    if result.judged:
        click.echo(summary(result.judged))
    if result.reasons:
        click.echo(result.reasons.sentence)
    rows = result.folder.rows
    done = f"{counted(len(rows) - rows.failed, 'image')} scored"
    if rows.failed:
        done += f", {rows.failed} failed (see the column error)"
    click.echo(f"{done}: {result.folder.scores_csv}\nReport: {result.report}")
    say_if_trial(backbone)
    if (fail and rows.failed) or (fail_on and result.judged and result.judged.anomalous):
        raise SystemExit(1)


def _frames(
    paths: tuple[str, ...],
    scoring: Scoring,
    sampling: tuple[int | None, float | None, float | None],
    out: str,
) -> list[Sample]:
    """The frames of the video files among the paths; none if there are none."""
    from vlad.images.video import Sampling, Video, check_video
    from vlad.runs.extract import write_frames
    from vlad.runs.frames import Footage

    every, fps, changes = sampling
    # tables have other suffixes than videos
    videos = [
        found
        for path in paths
        if Path(path).suffix.lower() in VIDEOS and (found := Video.of(path)) is not None
    ]
    if not videos:
        if any(value is not None for value in sampling):
            raise InputError(
                "--every, --fps and --changes choose frames of video files; name some, or leave "
                "them out."
            )
        return []
    if len(videos) < len(paths):
        raise InputError(
            f"{videos[0].name} is a video, and other paths are not; score them in runs of their "
            "own, or give videos alone."
        )
    for video in videos:
        if video.live:
            raise InputError(f"{video.name} is a stream; use vlad watch for it.")
        check_video(video)
    return write_frames(
        [Footage(video, Sampling(every or 1, fps), changes, "all") for video in videos],
        Path(out),
        scoring.common.setup.max_pixels,
        lambda words: click.echo(shown(words, keep=" "), err=True),
    )


def _with_holdout(settings: Settings, holdouts: tuple[str, ...]) -> Settings:
    """The settings with good images of another day."""
    from vlad.datasets import list_samples

    if not settings.rules:
        raise InputError(
            "--holdout-normal counts false alarms at a threshold; add --threshold auto."
        )
    return replace(settings, rules=replace(settings.rules, holdout=list_samples(holdouts)))


def _boxed(samples: list[Sample], settings: Settings, file: str) -> tuple[list[Sample], Settings]:
    """The images with their boxes, and the settings that say so."""
    from vlad.datasets.boxes import digest, read_boxes, with_boxes

    if settings.rules and settings.rules.held_out:
        raise InputError(
            "Held-out normal images have no boxes, so they set no threshold for images with some; "
            "leave --boxes or --normal out."
        )
    if settings.rules and settings.rules.holdout:
        raise InputError(
            "Good images of another day have no boxes, so their scores are of another kind; leave "
            "--boxes or --holdout-normal out."
        )
    samples = with_boxes(samples, read_boxes(file), file)
    return samples, replace(settings, boxes=digest(file))
