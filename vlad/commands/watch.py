"""vlad watch: scores images as they arrive in a folder."""

from __future__ import annotations

import click

from vlad.commands.options import open_backbone
from vlad.commands.options.scoring import Scoring, ScoringCommand, plan_of, scoring_options


@click.command(cls=ScoringCommand)
@click.argument("source", metavar="DIR")
@scoring_options
@click.option("--out", required=True, metavar="DIR", help="Output folder.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two scans of DIR; a file is read once two scans see it unchanged.",
)
def watch(source: str, scoring: Scoring, out: str, interval: float) -> None:
    """Score images as they arrive in a folder.

    Rows are appended to scores.csv until Ctrl-C or SIGTERM. When started again, it continues where
    it stopped. For overlays and a report, run `vlad score DIR` with the same options and --resume.

    \b
    vlad watch camera/ --normal good/ --threshold 0.12 --out runs/line
    vlad watch camera/ --normal good/ --k-shot 4 --calibration line.json --out runs/line
    """
    import signal
    from pathlib import Path

    from vlad.datasets.layout import existing_folder
    from vlad.results.runjson import RUN
    from vlad.runs.watch import watch
    from vlad.system.signals import interruptible
    from vlad.system.text import counted, shown

    folder = existing_folder(source)
    RUN.check(out, resume=True)

    def tell(batch, verdicts) -> None:
        for scored in batch:
            path = str(scored.sample.path)
            words = [
                f"{head} {score:.6g} {verdicts.get(f'{head}_verdict', {}).get(path, '')}".rstrip()
                for head, score in scored.scores.items()
            ]
            # a line each, whatever the name holds; never cut
            click.echo(shown(f"{path}: {scored.error or ', '.join(words)}", keep=" "))

    plan = plan_of(scoring, images=0)
    with interruptible(signal.SIGINT, signal.SIGTERM) as stop:
        backbone = open_backbone(scoring.common)
        click.echo(f"Watching {folder}; scores go to {Path(out) / 'scores.csv'}.")
        run = watch(
            backbone,
            plan.heads,
            folder,
            plan.settings,
            out,
            interval=interval,
            stop=stop,
            on_scored=tell,
            on_trouble=lambda words: click.echo(shown(f"Waiting: {words}", keep=" "), err=True),
        )
    bad = run.rows.failed
    click.echo(
        f"Stopped: {counted(len(run.rows) - bad, 'image')} scored, {bad} failed: {run.scores_csv}"
    )
