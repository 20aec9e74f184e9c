"""The training loop: optimiser steps over epochs, on any number of devices (accelerate)."""

from __future__ import annotations

import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vlad.errors import TrainingError
from vlad.system.progress import Progress
from vlad.system.signals import interruptible
from vlad.system.tracking import Tracker
from vlad.training.checkpoint import FEATURES, Log, State, load_state, save_state
from vlad.training.feed import Feed, Part, Place, epoch_order, split
from vlad.training.learner import Learner, rate_of
from vlad.training.recipe import Optimiser, Phase, Recipe

SAVE_SECONDS = 600  # between checkpoints inside an epoch
OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
# messages of allocators out of memory; only CUDA's has an exception type of its own
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
NAMED = 8  # images listed in an error


@dataclass
class Training:
    """One training run.

    Args:
        recipe: the recipe to follow.
        learner: the module to train.
        feed: the source of batches.
        out: folder for checkpoint and log.
        settings: settings that must not change on resume.
        accumulate: number of parts that each process runs one after the other in a step.
        measure: tensors -> figures on held-out categories, of which a higher "score" is better;
            None without such categories.
        tracker: also gets losses and figures, on the main process; or None.
    """

    recipe: Recipe
    learner: Learner
    feed: Feed
    out: Path
    settings: Mapping[str, Any]
    accelerator: Accelerator
    accumulate: int = 1
    measure: Callable[[], dict[str, float]] | None = None
    tracker: Tracker | None = None
    state: State = field(init=False)
    phase: Phase = field(init=False)

    def run(self, resume: bool = False) -> State:
        """Train to the end and return the final state.

        Raises:
            TrainingError: a loss is not finite, or memory is too small; the last checkpoint is
                kept.
            KeyboardInterrupt: stopped by Ctrl-C, after saving a checkpoint.
        """
        recipe, accelerator = self.recipe, self.accelerator
        ranks = accelerator.num_processes
        if recipe.batch_size < self.accumulate * ranks:
            raise TrainingError(
                f"Batches of {recipe.batch_size} cannot be split into {self.accumulate} parts for "
                f"each of {ranks} processes; raise batch_size in the recipe, or lower `accumulate`."
            )
        self._check_phases()
        self.state = State(self.learner.tensors())
        if resume:
            self.state = load_state(self.out, self.settings)
        self.saved = self.state.steps
        self.log = None
        if accelerator.is_main_process:
            self.log = Log(self.out, list(recipe.losses), self.state.steps)
        self.began = time.monotonic()
        try:
            with interruptible(signal.SIGINT) as stop:
                while self.state.phase < len(recipe.parts):
                    self._learn(stop)
        finally:
            if self.log:
                self.log.close()
        return self.state

    def _check_phases(self) -> None:
        """Set tensors that wait for a later phase to zero, as which they change nothing.

        Raises:
            TrainingError: a tensor that no phase learns, or a pattern that fits none.
        """
        first, *later = self.recipe.parts
        for phase in later:
            self.learner.groups(phase)
        self.first = self.learner.tensors()
        for name, parameter in self.learner.adapter.tensors.items():
            if rate_of(name, first) is None:
                parameter.data.zero_()
                if not any(rate_of(name, phase) for phase in later):
                    raise TrainingError(
                        f"No phase of the recipe {self.recipe.name} learns {name}; name it in "
                        "phases.lr of one of them."
                    )

    def _learn(self, stop: threading.Event) -> None:
        """Learn from the state on to the end of its phase."""
        state, self.phase = self.state, self.recipe.parts[self.state.phase]
        self._restore()
        before = self.recipe.parts[: state.phase]
        if before and not state.optimiser:
            for name, parameter in self.learner.adapter.tensors.items():
                if rate_of(name, self.phase) and not any(rate_of(name, one) for one in before):
                    parameter.data.copy_(self.first[name])
        self.learner.losses = list(self.phase.losses)
        optimiser = make_optimiser(self.recipe.optimiser, self.learner.groups(self.phase))
        if state.optimiser:
            optimiser.load_state_dict(state.optimiser)
        # it stays on the device of its backbone
        self.module, self.optimiser = self.accelerator.prepare(
            self.learner, optimiser, device_placement=[False, False]
        )
        if not state.optimiser:
            self._save()
        while state.epoch - state.began < self.phase.epochs and not self._is_enough():
            self._epoch(stop)
        state.phase, state.began, state.optimiser = state.phase + 1, state.epoch, {}
        # the next one goes on from the best epoch, which is what counts in the end
        state.tensors = state.best or self.learner.tensors()

    def _epoch(self, stop: threading.Event) -> None:
        state, recipe, accelerator = self.state, self.recipe, self.accelerator
        order = epoch_order(self.feed.data.sources, state.epoch, recipe.seed, recipe.shuffle)
        rank, ranks = accelerator.process_index, accelerator.num_processes
        parts = list(split(order, recipe.batch_size, self.accumulate, rank, ranks))
        parts = [part for part in parts if part.step >= state.step]
        quiet = None if accelerator.is_main_process else StringIO()
        saved = time.monotonic()
        with Progress(
            len(order),
            verb=f"epoch {state.epoch + 1} of {recipe.epochs}: trained",
            done=min(len(order), state.step * recipe.batch_size),
            stream=quiet,
        ) as progress:
            for step, losses in self._steps(parts):
                self._book(step, losses)
                progress.advance(len(step.batch))
                if stop.is_set():
                    accelerator.set_trigger()
                if accelerator.check_trigger():  # all processes stop after the same step
                    self._save()
                    raise KeyboardInterrupt
                if time.monotonic() - saved > SAVE_SECONDS:
                    self._save()
                    saved = time.monotonic()
        self._finish_epoch(len(order))

    def _steps(self, parts: list[Part]):
        """Run the parts; after each optimiser step, yield its last part and mean losses."""
        sums: dict[str, torch.Tensor] = {}
        bad: list[Part] = []
        batches, recipe = self.feed.batches(parts), self.recipe
        for part in parts:
            with self._memory(part):
                _, batch = next(batches)
                with self.accelerator.accumulate(self.module):
                    with random_from(recipe.seed, part.places[0]):
                        losses = self.module(batch)
                    total = sum(self.phase.losses[name] * x for name, x in losses.items())
                    # accelerate averages over parts and over processes
                    parallel = self.accumulate * self.accelerator.num_processes
                    self.accelerator.backward(total * part.share * parallel)
                    for name, x in {"loss": total, **losses}.items():
                        sums[name] = sums.get(name, 0.0) + x.detach() * part.share
                    if not total.isfinite():
                        bad.append(part)
                    if self.accelerator.sync_gradients:
                        self._check(bad, part)
                        self.optimiser.step()
                        self.optimiser.zero_grad()
            if self.accelerator.sync_gradients:
                means = self.accelerator.reduce(torch.stack(list(sums.values())), "sum").tolist()
                yield part, dict(zip(sums, means, strict=True))
                sums, bad = {}, []

    def _check(self, bad: list[Part], part: Part) -> None:
        gradients = [x.grad for x in self.learner.learned if x.grad is not None]
        # gradients are summed over processes, so all of them stop; all are read at once
        finite = torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
        if finite and not bad:
            return
        places = [place for one in bad for place in one.places] or list(part.batch)
        sources = self.feed.data.sources
        files = [str(sources[p.source].samples[p.index].path) for p in places]
        more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
        raise TrainingError(
            f"The loss is NaN or infinite in epoch {self.state.epoch + 1}, batch {part.step + 1} "
            f"({', '.join(files[:NAMED])}{more}); the checkpoint of step {self.saved} is in "
            f"{self.out}: lower optimiser.lr in the recipe, or remove these images, and begin "
            "again in another folder."
        )

    @contextmanager
    def _memory(self, part: Part):
        try:
            yield
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            kind = isinstance(error, torch.OutOfMemoryError | MemoryError)
            if not kind and not any(words in str(error) for words in NO_MEMORY):
                raise
            more = " or add `gradient_checkpointing`" * (not self.learner.cacheable)
            raise TrainingError(
                f"Out of memory with {len(part.places)} images of {self.feed.side} pixels at once; "
                f"raise `accumulate` (now {self.accumulate}){more} and continue with `resume`, or "
                "lower `image_size` and begin again."
            ) from error

    def _book(self, part: Part, losses: dict[str, float]) -> None:
        state = self.state
        state.step, state.steps = part.step + 1, state.steps + 1
        for name, x in losses.items():
            state.sums[name] = state.sums.get(name, 0.0) + x * len(part.batch)
        rate = max(group["lr"] for group in self.optimiser.param_groups)
        if self.log:
            seconds = time.monotonic() - self.began
            self.log.write(state.steps, state.epoch + 1, losses, rate, seconds)
        if self.tracker:
            figures = {f"train/{name}": x for name, x in losses.items()} | {"train/lr": rate}
            self.tracker.log(figures, state.steps)

    def _finish_epoch(self, images: int) -> None:
        state = self.state
        figures: list[dict] = [{}]
        if self.measure:
            if self.accelerator.is_main_process:
                figures = [self.measure()]
                if self.tracker:
                    held_out = {f"held out/{name}": x for name, x in figures[0].items()}
                    self.tracker.log(held_out, state.steps)
            broadcast_object_list(figures)
        means = {name: total / images for name, total in state.sums.items()}
        state.curve.append(means | figures[0])
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        if self.measure:
            scores = [epoch["score"] for epoch in state.curve]
            if scores[-1] >= max(scores) and scores[-1] > max(scores[:-1], default=-math.inf):
                state.best, state.best_epoch = self.learner.tensors(), state.epoch
        self._adjust_rate()
        self._save()

    def _is_enough(self) -> bool:
        """Return whether held-out figures have not improved for the recipe's patience."""
        state = self.state
        waited = state.epoch - max(state.best_epoch, state.began)
        return bool(state.best) and waited >= self.recipe.patience

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        self.state.tensors = self.learner.tensors()
        self.state.optimiser = self.optimiser.state_dict()
        save_state(self.out, self.state, self.settings)
        self.saved = self.state.steps

    def _restore(self) -> None:
        with torch.no_grad():
            for name, parameter in self.learner.adapter.tensors.items():
                parameter.copy_(self.state.tensors[name])

    def _adjust_rate(self) -> None:
        if not self.recipe.optimiser.plateau:
            return
        lr = rate_after(self.recipe.optimiser, [epoch["loss"] for epoch in self.state.curve])
        for group in self.optimiser.param_groups:
            group["lr"] = lr


@contextmanager
def random_from(seed: int, place: Place):
    """What is random inside follows from the seed and the first image of a part of a batch."""
    words = np.random.SeedSequence([seed, place.epoch, place.position, 2]).generate_state(1)
    with torch.random.fork_rng():
        torch.manual_seed(int(words[0]))
        yield


def make_optimiser(optimiser: Optimiser, parameters) -> torch.optim.Optimizer:
    """The optimiser named in a recipe."""
    own: dict[str, Any] = {"betas": optimiser.betas}
    if optimiser.name == "sgd":
        own = {"momentum": optimiser.momentum}
    return OPTIMISERS[optimiser.name](
        parameters, lr=optimiser.lr, weight_decay=optimiser.weight_decay, **own
    )


def rate_after(optimiser: Optimiser, losses: Sequence[float]) -> float:
    """The learning rate after epochs with these mean losses, by torch's ReduceLROnPlateau."""
    probe = torch.optim.SGD([torch.zeros(1)], optimiser.lr)
    schedule = ReduceLROnPlateau(probe, factor=0.1, patience=optimiser.plateau)
    for loss in losses:
        schedule.step(loss)
    return probe.param_groups[0]["lr"]


def clean(out: Path) -> None:
    """Remove what a finished training no longer needs."""
    shutil.rmtree(out / FEATURES, ignore_errors=True)
