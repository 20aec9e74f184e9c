"""vlad measure: frame AUROC, RBDC and TBDC of a run over labelled videos."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options.columns import aligned
from vlad.commands.options.option import option
from vlad.errors import InputError
from vlad.system.text import encode, shown

if TYPE_CHECKING:
    from vlad.evaluation.footage import RunMetrics


@click.command()
@click.argument("run")
@click.argument("labels", metavar="NAME=DIR|CSV")
@option("--tracks DIR", "Tracks of anomalous regions, for RBDC and TBDC.")
@option(
    "--per-video",
    "Scale the scores of each video to 0 to 1 first; such figures have another protocol.",
)
@option("--out FILE", "Also write the figures as JSON; an earlier file is replaced.")
def measure(run: str, labels: str, tracks: str | None, per_video: bool, out: str | None) -> None:
    """Measure a run of `vlad video` against labels of frames.

    RUN is its output folder. NAME=DIR is a data set: ucsd_ped1, ucsd_ped2, avenue, shanghaitech,
    ubnormal, ucf_crime or xd_violence. CSV is a table with the columns video, first and last: a
    stretch of anomalous frames a row, counted from 0; a normal video has one row with both empty.

    \b
    vlad video ped2/Test/Test0?? --normal ped2/Train --out runs/ped2
    vlad measure runs/ped2 ucsd_ped2=ped2
    """
    from vlad.datasets.footage import load_footage
    from vlad.evaluation.footage import measure_run

    name, given, root = labels.partition("=")
    if not given:
        if not labels.lower().endswith(".csv"):
            raise InputError(
                f"{labels} names no layout; write NAME=DIR, as in ucsd_ped2=UCSDped2, or give a "
                "CSV table."
            )
        name, root = "csv", labels
    if tracks and not Path(tracks).is_dir():
        raise InputError(f"--tracks {tracks} is no folder; check the path.")
    clips = load_footage(name, root).test()
    found = measure_run(run, clips, tracks=Path(tracks) if tracks else None, per_video=per_video)
    click.echo(aligned(_table(found)))
    for sentence in (found.protocol, *found.notes):
        click.echo(shown(sentence))
    if out:
        click.echo(f"Figures: {_write(Path(out), found)}")


def _table(found: RunMetrics) -> list[list[str]]:
    rows = [["scores", "AUROC micro", "AUROC macro", "AP"]]
    areas = any(one.rbdc is not None for one in found.measured)
    rows[0] += ["RBDC", "TBDC"] if areas else []
    for one in found.measured:
        values: list[float | None] = [one.frames.micro, one.frames.macro, one.frames.ap]
        values += [one.rbdc, one.tbdc] if areas else []
        rows.append([one.scores, *("-" if v is None else f"{v:.4f}" for v in values)])
    return rows


def _write(path: Path, found: RunMetrics) -> Path:
    from vlad.system.files import atomic_write

    content = asdict(found)
    for one in content["measured"]:
        for name, value in one["frames"].items():
            one["frames"][name] = None if math.isnan(value) else value  # JSON has no NaN
        one |= {name: None for name in ("rbdc", "tbdc") if math.isnan(one[name] or 0)}
    return atomic_write(path, encode(json.dumps(content, indent=1) + "\n"))
