"""The option of long commands for a program that tracks experiments."""

from __future__ import annotations

from collections.abc import Callable

import click

from vlad.commands.options.option import option

TRACKERS = ("tensorboard", "mlflow", "wandb")


def log_option(command: Callable) -> Callable:
    """Add --log; the command gets its value as `log`, for `vlad.system.tracking.tracking`."""
    return option(
        "--log",
        "Also send settings and figures to this tracker; TensorBoard's files are in --out.",
        "log",
        type=click.Choice(TRACKERS),
    )(command)
