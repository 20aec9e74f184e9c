"""vlad watch: score images as they arrive in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vlad.commands.options import say_if_trial
from vlad.commands.options.option import option
from vlad.commands.options.scoring import Scoring, ScoringCommand, plan_of, scoring_options

if TYPE_CHECKING:
    from vlad.runs.events import Channel


@click.command(cls=ScoringCommand)
@click.argument("source", metavar="DIR")
@scoring_options
@option("--out DIR", "Output folder.", required=True)
@option(
    "--interval SECONDS",
    "Time between two scans of DIR; a file is read once two scans see it unchanged.",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
)
@option("--webhook URL", "Post each anomalous image as JSON to this URL, until it is delivered.")
@option(
    "--webhook-secret FILE",
    "Sign what is posted with the secret in this file.  [default: $VLAD_WEBHOOK_SECRET]",
)
@option("--on-anomaly CMD", "Run this command for each anomalous image, with JSON on its input.")
def watch(
    source: str,
    scoring: Scoring,
    out: str,
    interval: float,
    webhook: str | None,
    webhook_secret: str | None,
    on_anomaly: str | None,
) -> None:
    """Score images as they arrive in a folder.

    Rows are appended to scores.csv until Ctrl-C or SIGTERM. When started again, it continues where
    it stopped. For overlays and a report, run `vlad score DIR` with the same options and --resume.

    \b
    vlad watch camera/ --normal good/ --threshold 0.12 --out runs/line
    vlad watch camera/ --normal good/ --k-shot 4 --calibration line.json --out runs/line
    """
    import signal
    from pathlib import Path

    from vlad.calibration.counts import counts
    from vlad.datasets.layout import existing_folder
    from vlad.errors import InputError
    from vlad.results.runjson import RUN
    from vlad.runs.watch import watch
    from vlad.system.signals import interruptible
    from vlad.system.text import counted, shown

    folder = existing_folder(source)
    RUN.check(out, resume=True)
    channels = _channels(webhook, webhook_secret, on_anomaly)

    def tell(batch, verdicts) -> None:
        for scored in batch:
            path = str(scored.sample.path)
            words = []
            for head, score in scored.scores.items():
                verdict = verdicts.get(f"{head}_verdict", {}).get(path, "")
                kind = f"({near})" if (near := scored.kinds.get(head)) else ""
                words.append(" ".join(filter(None, [head, f"{score:.6g}", verdict, kind])))
            # one line per image, whatever its name holds; never cut
            click.echo(shown(f"{path}: {scored.error or ', '.join(words)}", keep=" "))

    def explain(calibration) -> None:
        for name, threshold in calibration.thresholds.items():
            said = filter(None, (*counts(calibration, name), calibration.basis(name)))
            line = " ".join([f"{name}: anomalous above {threshold:.6g}.", *said])
            click.echo(shown(line, keep=" ").rstrip())
        for note in calibration.notes:
            click.echo(shown(note, keep=" "))

    plan = plan_of(scoring, images=0)
    if channels and plan.settings.rules is None:
        raise InputError(
            "--webhook and --on-anomaly tell of anomalous images, but nothing decides which are; "
            "add --threshold or --calibration."
        )
    with interruptible(signal.SIGINT, signal.SIGTERM) as stop:
        backbone = plan.open_backbone()
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
            on_calibrated=explain,
            on_drift=lambda words: click.echo(shown(words, keep=" ")),
            on_trouble=lambda words: click.echo(shown(words, keep=" "), err=True),
            channels=channels,
        )
    bad = run.rows.failed
    done = counted(len(run.rows) - bad, "image")
    click.echo(f"Stopped: {done} scored, {bad} failed: {run.scores_csv}")
    say_if_trial(backbone)


def _channels(webhook: str | None, secret: str | None, command: str | None) -> list[Channel]:
    """What is told of anomalous images, in the way the options ask for."""
    from vlad.errors import InputError
    from vlad.runs.events import Command, Webhook, read_secret

    if secret and not webhook:
        raise InputError("--webhook-secret is for --webhook; add it, or leave the secret out.")
    channels: list[Channel] = []
    if webhook:
        key = read_secret(secret)
        channels.append(Webhook.of(webhook, key))
        if key is None:
            click.echo("What is posted is not signed; --webhook-secret signs it.", err=True)
    if command:
        channels.append(Command.of(command))
    return channels
