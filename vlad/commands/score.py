"""vlad score: images in; scores, maps, overlays and a report out."""

from __future__ import annotations

import click

from vlad.commands.options import open_backbone
from vlad.commands.options.scoring import Scoring, ScoringCommand, plan_of, scoring_options


@click.command(cls=ScoringCommand)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@scoring_options
@click.option("--out", required=True, metavar="DIR", help="Output folder.")
@click.option(
    "--resume", is_flag=True, help="Continue an interrupted run; nothing is scored twice."
)
@click.option("--overwrite", is_flag=True, help="Delete the run in the output folder first.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray uses many processes or machines and writes only scores, as Parquet files.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Scoring processes for --engine ray.  [default: one per core or GPU]",
)
@click.option("--fail", is_flag=True, help="Exit with code 1 if any image could not be scored.")
def score(
    paths: tuple[str, ...],
    scoring: Scoring,
    out: str,
    resume: bool,
    overwrite: bool,
    engine: str,
    workers: int | None,
    fail: bool,
) -> None:
    """Score images; write scores, heat maps and a report.

    PATH is a file, a folder, a pattern, or a CSV manifest with a column `path`. With --engine ray
    it may also be a URL, such as s3://bucket/parts, or a Parquet file with a column `path`.

    \b
    vlad score parts/ --category hazelnut --out runs/parts
    vlad score parts/ --normal good/ --k-shot 4 --head memory --out runs/parts
    vlad score parts/ --normal good/ --threshold auto --out runs/parts
    """
    from pathlib import Path

    from vlad.datasets import list_samples
    from vlad.errors import InputError
    from vlad.results.runjson import RUN
    from vlad.results.verdicts import summary
    from vlad.runs.run import run
    from vlad.system.text import counted

    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other; leave one out.")
    if engine == "ray":
        from vlad.commands.ray import score_on_ray

        failed = score_on_ray(paths, scoring, out, workers, resume=resume, overwrite=overwrite)
        raise SystemExit(1 if fail and failed else 0)
    if workers:
        raise InputError("--workers is for --engine ray; add it, or leave --workers out.")
    RUN.check(out, resume=resume, overwrite=overwrite)
    # what an earlier run wrote below the images is no input
    written = Path(out).resolve()
    samples = [s for s in list_samples(paths) if written not in s.path.resolve().parents]
    if not samples:
        raise InputError(f"All these images lie in {out}, which is written to; choose another.")
    plan = plan_of(scoring, len(samples))
    backbone = open_backbone(scoring.common)
    try:
        result = run(
            backbone,
            plan.heads,
            samples,
            plan.settings,
            out,
            resume=resume,
            overwrite=overwrite,
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
    rows = result.folder.rows
    done = f"{counted(len(rows) - rows.failed, 'image')} scored"
    if rows.failed:
        done += f", {rows.failed} failed (see the column error)"
    click.echo(f"{done}: {result.folder.scores_csv}\nReport: {result.report}")
    if fail and rows.failed:
        raise SystemExit(1)
