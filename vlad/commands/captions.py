"""vlad captions: score the frames of a video by keywords in their captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options import given
from vlad.commands.options.option import option
from vlad.commands.options.sections import SectionedCommand
from vlad.commands.options.video import FPS, FRAME_RATE
from vlad.commands.options.vlm import VlmOptions, vlm_options
from vlad.errors import InputError, OutputError
from vlad.system.text import counted, shown

if TYPE_CHECKING:
    from vlad.runs.captions import Captioned

SHOWN = 5  # captions that are printed


@click.command("captions", cls=SectionedCommand)
@click.argument("source", metavar="CSV|CLIP|DIR")
@option(
    "--keyword WORDS",
    "What makes a caption anomalous if it contains it; may be repeated.",
    "keywords",
    multiple=True,
    required=True,
)
@FPS
@FRAME_RATE
@vlm_options
@given("device", "max_pixels")
@option("--out FILE", "CSV file to write.", required=True)
@option("--overwrite", "Replace the file if there is one.")
def captions(
    source: str,
    keywords: tuple[str, ...],
    fps: float | None,
    frame_rate: float | None,
    vlm: VlmOptions,
    device: str,
    max_pixels: int,
    out: str,
    overwrite: bool,
) -> None:
    """Score the frames of a video by keywords in their captions.

    CSV has a caption a line, in the column `caption`, and, if you like, `seconds`. Of a video file
    CLIP or a folder of frames DIR, --vlm writes the captions. The score is AnomalyRuler-base, which
    compares with the whole video: it cannot be used live.

    \b
    vlad captions gate.csv --keyword running --keyword bicycle --out scored.csv
    vlad captions gate.mp4 --fps 1 --vlm MODEL --keyword bicycle --out scored.csv
    """
    from vlad.results.table import csv_bytes
    from vlad.runs.captions import caption_table, listed_captions
    from vlad.system.files import atomic_write, check_writable
    from vlad.time import anomalyruler_base

    file = Path(out)
    if file.is_dir() or (file.exists() and not overwrite):
        raise OutputError(f"{file} is there already; choose another --out, or add --overwrite.")
    check_writable(file.parent)
    anomalyruler_base([], keywords)  # refuses keywords before captions are made
    if source.lower().endswith(".csv"):
        if vlm.model or fps or frame_rate:
            raise InputError(
                f"{source} has captions already; leave out --vlm, --fps and --frame-rate."
            )
        found = listed_captions(Path(source).expanduser())
    else:
        found = _made(source, vlm, device, fps, frame_rate, max_pixels)
    table = caption_table(found, keywords)
    atomic_write(file, csv_bytes(table))
    scored = [(score, i) for i, score in enumerate(table["score"]) if isinstance(score, float)]
    for score, place in sorted(scored, key=lambda one: (-one[0], one[1]))[:SHOWN]:
        if score:
            one = found[place]
            at = f"frame {one.number}" if one.seconds is None else f"{one.seconds:.2f} s"
            click.echo(f"{score:.3f}  {at}  {shown(one.caption, keep=' ')}")
    without = len(found) - len(scored)
    said = f"{counted(len(scored), 'frame')} scored"
    said += f", {without} without a caption (see the column error)" if without else ""
    hits = sum(1 for hit in table["hit"] if hit)
    click.echo(f"{said}, {hits} with a keyword: {file}")


def _made(
    source: str,
    vlm: VlmOptions,
    device: str,
    fps: float | None,
    frame_rate: float | None,
    max_pixels: int,
) -> list[Captioned]:
    """Captions that a model writes."""
    from vlad.commands.video import video_of
    from vlad.images.video import Sampling
    from vlad.runs.captions import made_captions

    video = video_of(source, frame_rate)
    if frame_rate is not None and video.rate is None:
        raise InputError("--frame-rate is for a folder of frames; leave it out.")
    model = vlm.open(device)
    if model is None:
        raise InputError(
            f"The captions of {source} are written by a model; name one with --vlm, or give a CSV "
            "file of captions."
        )

    def say(words: str) -> None:
        click.echo(shown(words, keep=" "), err=True)

    def done(count: int) -> None:
        if not count % (25 * model.batch):
            say(f"{counted(count, 'frame')} captioned.")

    return list(made_captions(model, video, Sampling(1, fps), max_pixels, say, done))
