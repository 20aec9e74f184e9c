"""One option of a command in one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import click


def option(usage: str, text: str, *names: str, **settings: Any) -> Callable[[Callable], Callable]:
    """`click.option` by its usage, with its default in the help.

    Args:
        usage: "--k-shot K" for an option that takes K, or "--resume" for a flag or a choice.
        text: what the help says.
        names: the parameter of the command, if it is not that of the option.
        settings: further arguments of `click.option`.
    """
    flag, _, metavar = usage.partition(" ")
    if metavar:
        settings["metavar"] = metavar
    elif "type" not in settings:
        settings["is_flag"] = True
    settings.setdefault("show_default", "is_flag" not in settings and "default" in settings)
    return click.option(flag, *names, help=text, **settings)


def together(*options: Callable[[Callable], Callable]) -> Callable[[Callable], Callable]:
    """Several options as one decorator, in this order."""
    return lambda command: reduce(lambda made, add: add(made), reversed(options), command)
