"""vlad watch: score images as they arrive in a folder, or the frames of a video."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options import say_if_trial
from vlad.commands.options.events import Deciding, check_deciding, event_options, rules_of
from vlad.commands.options.option import option
from vlad.commands.options.scoring import Scoring, ScoringCommand, plan_of, scoring_options
from vlad.commands.options.video import sampling_options
from vlad.errors import InputError
from vlad.system.text import counted, shown

if TYPE_CHECKING:
    from vlad.commands.options.scoring import Plan
    from vlad.results.eventrules import EventRules
    from vlad.runs.events import Channel
    from vlad.runs.frames import Footage, Keep


@click.command(cls=ScoringCommand)
@click.argument("source", metavar="SOURCE")
@scoring_options
@option("--out DIR", "Output folder.", required=True)
@option(
    "--interval SECONDS",
    "Time between two scans of a folder; a file is read once two scans see it unchanged.  "
    "[default: 2]",
    type=click.FloatRange(min=0, min_open=True),
)
@sampling_options
@option(
    "--keep",
    "Frames of a video that are saved as images in the output folder.  [default: anomalous]",
    type=click.Choice(["anomalous", "all", "none"]),
)
@event_options
@option(
    "--webhook URL",
    "Post each anomalous image or event as JSON to this URL, until it is delivered.",
)
@option(
    "--webhook-secret FILE",
    "Sign what is posted with the secret in this file.  [default: $VLAD_WEBHOOK_SECRET]",
)
@option(
    "--mqtt URL",
    "Publish each anomalous image, or event, as JSON on mqtt://HOST[:PORT]/TOPIC, until it is "
    "delivered.",
)
@option(
    "--mqtt-login FILE",
    "Log in to the broker with USER:PASSWORD in this file.  [default: $VLAD_MQTT_LOGIN]",
)
@option(
    "--on-anomaly CMD",
    "Run this command for each anomalous image or event, with JSON on its input.",
)
def watch(
    source: str,
    scoring: Scoring,
    out: str,
    interval: float | None,
    every: int | None,
    fps: float | None,
    changes: float | None,
    keep: Keep | None,
    deciding: Deciding,
    webhook: str | None,
    webhook_secret: str | None,
    mqtt: str | None,
    mqtt_login: str | None,
    on_anomaly: str | None,
) -> None:
    """Score images as they arrive in a folder or video.

    SOURCE is a folder, a video file, a stream (rtsp://, http://), or the number of a camera.

    Rows are appended to scores.csv until Ctrl-C, SIGTERM or the end of a video file. When started
    again, it continues where it stopped. In a video, --begin-above or --thresholds also finds
    events in time as they happen, for events.csv. For overlays and a report, run `vlad score DIR`
    with the same options and --resume.

    \b
    vlad watch camera/ --normal good/ --threshold 0.12 --out runs/line
    vlad watch rtsp://camera/line --fps 2 --detector nut/ --out runs/line
    vlad watch rtsp://camera/line --fps 2 --detector nut/ --begin-above 0.4 --out runs/line
    vlad watch camera/ --normal good/ --k-shot 4 --calibration line.json --out runs/line
    """
    from vlad.calibration.counts import counts
    from vlad.results.runjson import RUN
    from vlad.runs.watch import watch
    from vlad.system.signals import interruptible

    watched = _source(source, interval, every, fps, changes, keep)
    RUN.check(out, resume=True)
    channels = _channels(webhook, webhook_secret, mqtt, mqtt_login, on_anomaly)

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
    events = _events(deciding, plan, watched)
    if channels and plan.settings.rules is None and events is None:
        raise InputError(
            "--webhook, --mqtt and --on-anomaly tell of anomalous images, but nothing decides "
            "which are; add --threshold or --calibration, or --begin-above for events in a video."
        )
    for one in (events.hourly if events else {}).values():
        click.echo(one.sentence)
    with interruptible(signal.SIGINT, signal.SIGTERM) as stop:
        backbone = plan.open_backbone()
        name = watched if isinstance(watched, Path) else watched.video.name
        click.echo(f"Watching {name}; scores go to {Path(out) / 'scores.csv'}.")
        run = watch(
            backbone,
            plan.heads,
            watched,
            plan.settings,
            out,
            interval=interval or 2.0,
            stop=stop,
            on_scored=tell,
            on_calibrated=explain,
            on_drift=lambda words: click.echo(shown(words, keep=" ")),
            on_trouble=lambda words: click.echo(shown(words, keep=" "), err=True),
            channels=channels,
            events=events,
            on_event=lambda event: click.echo(shown(event.sentence, keep=" ")),
        )
    bad = run.rows.failed
    done = counted(len(run.rows) - bad, "image")
    ended = "Stopped" if stop.is_set() else "Finished"
    click.echo(f"{ended}: {done} scored, {bad} failed: {run.scores_csv}")
    say_if_trial(backbone)


def _source(
    source: str,
    interval: float | None,
    every: int | None,
    fps: float | None,
    changes: float | None,
    keep: Keep | None,
) -> Path | Footage:
    """What is watched, in the way the options ask for."""
    from vlad.images.video import Sampling, Video, check_video
    from vlad.runs.frames import Footage

    video = Video.of(source)
    of_video = {"--every": every, "--fps": fps, "--changes": changes, "--keep": keep}
    if video is None:
        folder = Path(source).expanduser()
        if not folder.is_dir():
            raise InputError(
                f"{source} is no folder, video file, stream or camera; check the path, or give "
                "images to vlad score."
            )
        if given := [name for name, value in of_video.items() if value is not None]:
            raise InputError(f"{given[0]} is for a video, but {source} is a folder; leave it out.")
        return folder
    if interval is not None:
        raise InputError(f"--interval is for a folder, but {video.name} is a video; leave it out.")
    check_video(video)
    return Footage(video, Sampling(every or 1, fps), changes, keep or "anomalous")


def _events(deciding: Deciding, plan: Plan, watched: Path | Footage) -> EventRules | None:
    """What makes an event in time; None if none are found."""
    from vlad.time import Smoothing

    check_deciding(deciding)
    if not deciding.wanted:
        if deciding.smooth or deciding.gap is not None:
            raise InputError(
                "--smooth and --gap are for events in time; add --begin-above or --thresholds."
            )
        return None
    if isinstance(watched, Path):
        raise InputError(
            f"{watched} is a folder, but events in time are found in a video; leave out "
            "--begin-above and --thresholds."
        )
    rules = rules_of(deciding, plan, Smoothing.of(deciding.smooth or "ewma=1"))
    if rules and rules.smoothing.kind == "gaussian":
        where = deciding.thresholds or "--smooth"
        raise InputError(
            f"{where} smooths with frames that have not come yet ({rules.smoothing}); use "
            "--smooth ewma=1, also to find thresholds."
        )
    return rules


def _channels(
    webhook: str | None,
    secret: str | None,
    mqtt: str | None,
    login: str | None,
    command: str | None,
) -> list[Channel]:
    """What is told of anomalous images, in the way the options ask for."""
    from vlad.runs.events import SECRET, Command, Mqtt, Webhook, read_login, read_secret

    if secret and not webhook:
        raise InputError("--webhook-secret is for --webhook; add it, or leave the secret out.")
    if login and not mqtt:
        raise InputError("--mqtt-login is for --mqtt; add it, or leave the login out.")
    channels: list[Channel] = []
    if webhook:
        key = read_secret(secret, SECRET, "webhook")
        channels.append(Webhook.of(webhook, key))
        if key is None:
            click.echo("What is posted is not signed; --webhook-secret signs it.", err=True)
    if mqtt:
        broker = Mqtt.of(mqtt, read_login(login))
        channels.append(broker)
        if broker.login and not broker.secure:
            click.echo("The login goes to the broker unencrypted; mqtts:// encrypts it.", err=True)
    if command:
        channels.append(Command.of(command))
    return channels
