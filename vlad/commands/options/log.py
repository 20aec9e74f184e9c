"""The option of long commands for a program that tracks experiments."""

from __future__ import annotations

import click

from vlad.commands.options.option import option

TRACKERS = ("tensorboard", "mlflow", "wandb")


log_option = option(
    "--log",
    "Also send settings and figures to this tracker; TensorBoard's files are in --out.",
    "log",
    type=click.Choice(TRACKERS),
)
