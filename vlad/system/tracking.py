"""Settings and figures of a command sent to a program that tracks experiments, by accelerate."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vlad.errors import InputError
from vlad.system.text import shown

TRACKERS = ("tensorboard", "mlflow", "wandb")
PROJECT = "vlad"
FOLDER = "tensorboard"  # of TensorBoard's files
_ODD = re.compile(r"[^\w\-. :/]", re.ASCII)  # MLflow refuses names with these


class Tracker:
    """A run of a tracking program; if it fails on the way, the command goes on without it.

    Args:
        name: one of TRACKERS.
        program: a tracker of accelerate, started.
    """

    def __init__(self, name: str, program: Any):
        self.name = name
        self.program = program
        self._works = True

    def settings(self, settings: Mapping[str, Any]) -> None:
        """Record what the run is made with; names of nested values are joined by points."""
        self._send(self.program.store_init_configuration, dict(_flat(settings)))

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Record figures; steps never go back."""
        values = {_ODD.sub("_", name): float(value) for name, value in figures.items()}
        self._send(self.program.log, values, step=step)

    def end(self) -> None:
        """Write what is waiting."""
        self._send(self.program.finish)

    def _send(self, call: Any, *args: Any, **kwargs: Any) -> None:
        if not self._works:
            return
        try:
            call(*args, **kwargs)
        except Exception as error:  # libraries over a network raise many kinds
            self._works = False
            warnings.warn(
                f"{self.name} failed ({_why(error)}); the command goes on without it.",
                stacklevel=3,
            )


@contextmanager
def tracking(name: str | None, out: str | Path) -> Iterator[Tracker | None]:
    """A tracker while the block runs; None if there is no name.

    TensorBoard's files are written below `out`; the others follow their own settings
    (MLFLOW_TRACKING_URI, WANDB_MODE, ...), and none ever asks for a key.

    Raises:
        InputError: its package is missing, or it does not start.
    """
    if name is None:
        yield None
        return
    found = find_spec(name)
    if found is None or found.origin is None:  # wandb leaves a folder of its name behind
        raise InputError(f"{name} is not installed; install it with `pip install {name}`.")
    program = _program(name, Path(out))
    try:
        with _nobody_to_ask():
            program.start()
    except Exception as error:
        raise InputError(
            f"{name} does not start ({_why(error)}); set its address and key in the environment, "
            "or its offline mode."
        ) from error
    tracker = Tracker(name, program)
    try:
        yield tracker
    finally:
        tracker.end()


def _program(name: str, out: Path) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import MLflowTracker, TensorBoardTracker, WandBTracker

    PartialState()  # their messages need it
    if name == "tensorboard":
        return TensorBoardTracker(FOLDER, out)
    if name == "mlflow":
        return MLflowTracker(PROJECT, run_name=out.name)
    return WandBTracker(os.environ.get("WANDB_PROJECT", PROJECT), name=out.name)


@contextmanager
def _nobody_to_ask() -> Iterator[None]:
    before = sys.stdin
    with open(os.devnull, encoding="utf-8") as nothing:
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = before


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        name = _ODD.sub("_", f"{prefix}{key}")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value if isinstance(value, bool | int | float | str) else str(value)


def _why(error: Exception) -> str:
    return shown(str(error).strip().rstrip(".") or type(error).__name__)
