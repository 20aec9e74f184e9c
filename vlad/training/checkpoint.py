"""Checkpoints: a training resumes as if it had never stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import torch

from vlad.adapters import CARD, FILE
from vlad.errors import TrainingError
from vlad.system.files import atomic_write
from vlad.system.formats import FORMAT, check_format
from vlad.system.text import csv_line, encode
from vlad.system.torch_file import load_torch
from vlad.system.tracking import FOLDER as TENSORBOARD

CHECKPOINT, LOG, LEFT_OUT, FEATURES = "checkpoint.pt", "log.csv", "left_out.csv", "features"


@dataclass
class State:
    """The state of a training between two steps.

    Attributes:
        tensors: the learned tensors, by name.
        optimiser: its state_dict, or {} before the first step.
        phase: number of finished phases.
        began: number of epochs in these.
        epoch: number of finished epochs.
        step: number of finished steps in the current epoch.
        steps: number of finished steps in total.
        sums: name -> sum of a loss over the images of the current epoch.
        curve: mean losses and held-out figures of each finished epoch.
        best: tensors of the best epoch so far, if categories are held out.
        best_epoch: that epoch, from 1; 0 without one.
    """

    tensors: dict[str, torch.Tensor]
    optimiser: dict[str, Any] = field(default_factory=dict)
    phase: int = 0
    began: int = 0
    epoch: int = 0
    step: int = 0
    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_epoch: int = 0


def open_folder(out: Path, resume: bool) -> bool:
    """Return whether `out` holds a training to resume.

    Raises:
        TrainingError: the folder holds an adapter, other files, or a stopped training without
            `resume`.
    """
    if (out / CHECKPOINT).is_file():
        if resume:
            return True
        raise TrainingError(
            f"{out} holds a stopped training; resume it with the same settings and `resume`, or "
            "choose another folder."
        )
    if (out / FILE).is_file():
        raise TrainingError(f"{out} already holds an adapter; choose another folder.")
    if out.exists() and not out.is_dir():
        raise TrainingError(f"{out} is a file; name a folder.")
    # from a training stopped before its first checkpoint
    ours = {LOG, LEFT_OUT, FEATURES, CARD, TENSORBOARD}
    if out.is_dir() and (others := sorted(set(os.listdir(out)) - ours)):
        raise TrainingError(f"{out} holds other files ({others[0]}); choose an empty folder.")
    if resume:
        raise TrainingError(f"There is no training in {out} to resume; leave `resume` out.")
    return False


def save_state(out: Path, state: State, settings: Mapping[str, Any]) -> None:
    """Write the checkpoint atomically.

    Raises:
        OutputError: the folder is not writable.
    """
    content = {"format": FORMAT, "settings": json.dumps(settings), **asdict(state)}
    atomic_write(out / CHECKPOINT, lambda file: torch.save(content, file))


def load_state(out: Path, settings: Mapping[str, Any]) -> State:
    """The checkpoint in a folder.

    Raises:
        TrainingError: it is damaged, of a newer vlad, or has other settings.
    """
    file = out / CHECKPOINT
    known = [f.name for f in fields(State)]
    try:
        content = dict(load_torch(file))
        check_format(content, ("settings", *known), file, TrainingError)
        before = json.loads(content["settings"])
        state = State(**{name: content[name] for name in known})
    except (
        OSError, RuntimeError, ValueError, TypeError, KeyError, EOFError, UnpicklingError,
        BadZipFile,
    ) as e:  # fmt: skip
        raise TrainingError(f"{file} is not a vlad checkpoint, or is damaged; begin again.") from e
    now = json.loads(json.dumps(settings))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise TrainingError(
                f"The training in {out} began with another {key} "
                f"({difference(before.get(key), now.get(key))}); resume it with the same, or "
                "choose another folder."
            )
    return state


def difference(before: Any, now: Any) -> str:
    """The first value that differs between two settings, in words."""
    if isinstance(before, dict) and isinstance(now, dict):
        key = next(k for k in {**before, **now} if before.get(k) != now.get(k))
        return f"{key}: {difference(before.get(key), now.get(key))}"
    return f"{json.dumps(before)} before, {json.dumps(now)} now"


class Log:
    """`log.csv`: one line per step.

    Args:
        out: its folder.
        losses: names of the losses.
        steps: number of lines to keep when a training resumes; later ones are dropped.
    """

    def __init__(self, out: Path, losses: list[str], steps: int = 0):
        self.path = out / LOG
        self.losses = ["loss", *losses]
        names = ["step", "epoch", *self.losses, "lr", "seconds"]
        lines = self.path.read_bytes().splitlines(keepends=True)[1:] if steps else []
        # count on from the seconds of the steps before
        self.seconds = float(lines[steps - 1].rsplit(b",", 1)[1]) if len(lines) >= steps > 0 else 0
        atomic_write(self.path, b"".join([encode(csv_line(names)), *lines[:steps]]))
        self.file = open(self.path, "ab", buffering=0)  # noqa: SIM115, open for the whole training

    def write(
        self, step: int, epoch: int, losses: Mapping[str, float], lr: float, seconds: float
    ) -> None:
        """Write a line; losses that are not computed in a phase stay empty."""
        each = (f"{losses[name]:.6g}" if name in losses else "" for name in self.losses)
        numbers = [str(step), str(epoch), *each, f"{lr:g}"]
        self.file.write(encode(csv_line([*numbers, f"{self.seconds + seconds:.2f}"])))

    def close(self) -> None:
        self.file.close()
