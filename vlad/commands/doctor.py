"""vlad doctor: what is installed, and how to fix each problem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options import quiet_open_clip
from vlad.commands.options.columns import aligned, megabytes
from vlad.commands.options.option import option

if TYPE_CHECKING:
    from vlad.commands.checks import Examination


@click.command()
@option("--json FILE", "Also write the findings as JSON.", "json_file")
@click.pass_context
def doctor(ctx: click.Context, json_file: str | None) -> None:
    """Check the installation and say how to fix it.

    The exit code is 1 if something is broken.
    """
    from vlad.commands.checks import examine
    from vlad.system.files import atomic_write

    quiet_open_clip()
    done = examine()
    click.echo(aligned(_rows(done)))
    for problem in done.problems:
        click.echo(f"\n{'Broken' if problem.broken else 'Note'}: {problem.text}")
    if not done.broken:
        click.echo("\nNothing is broken.")
    if json_file:
        atomic_write(Path(json_file), json.dumps(done.as_dict(), indent=2).encode())
    ctx.exit(1 if done.broken else 0)


def _rows(done: Examination) -> list[list[str]]:
    """The facts as topic, thing and value; a check that failed has no rows."""
    facts = done.facts
    rows = [["versions", name, version] for name, version in (facts["versions"] or {}).items()]
    if device := facts["device"]:
        rows += _device_rows(device)
    for backbone in facts["backbones"] or []:
        rows.append(
            ["backbone", backbone["name"], f"{megabytes(backbone['size'])}  {backbone['path']}"]
        )
    for cache in facts["caches"] or []:
        rows.append(["cache", cache["of"], f"{megabytes(cache['size'])}  {cache['path']}"])
    for name, value in (facts["environment"] or {}).items():
        rows.append(["environment", name, value])
    if score := facts["score"]:
        what = f"{score['head']} on {score['backbone']}"
        rows.append(["score", what, f"{score['score']:.5f}, expected {score['expected']:.5f}"])
    # name each topic once
    return [
        [topic if i == 0 or topic != rows[i - 1][0] else "", *rest]
        for i, (topic, *rest) in enumerate(rows)
    ]


def _device_rows(device: dict) -> list[list[str]]:
    gpus = ", ".join(f"{gpu['name']} ({megabytes(gpu['memory'])})" for gpu in device["cuda"])
    times = device["product_ms"]
    speed = ", ".join(f"{dtype} {_milliseconds(value)}" for dtype, value in times.items())
    advice = "keep float32" if times["float32"] <= times["bfloat16"] else "bfloat16 is faster"
    return [
        ["device", "auto is", device["auto"]],
        ["device", "processor", device["cpu"]],
        ["device", "cores", f"{device['cores']}, of which torch uses {device['threads']}"],
        ["device", "CUDA", gpus or "no"],
        ["device", "MPS", "yes" if device["mps"] else "no"],
        ["device", "speed", f"{speed} per product; {advice}"],
    ]


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms".replace(",", " ") if value >= 10 else f"{value:.2g} ms"
