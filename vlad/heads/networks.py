"""Small networks fitted on the patches of normal images: epochs, when to stop, progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack

import torch
import torch.nn.functional as F

from vlad.errors import HeadError
from vlad.system.progress import Progress

Tensors = dict[str, torch.Tensor]

PATIENCE = 20  # epochs without a lower loss of the held-out images, after which it stops
STEADY = 160  # steps that these take at least: at first the loss rises, as running statistics lag
LEAST = 10  # normal images from which on a share of them is held out
SLOW = 3  # seconds after which progress is shown
RUNNING = ("running_mean", "running_var")  # what a batch norm averages, without gradients


@torch.enable_grad()
def fit_network(
    name: str,
    rows: torch.Tensor,
    tensors: Tensors,
    step: Callable[[torch.Tensor], object],
    loss: Callable[[torch.Tensor], torch.Tensor],
    *,
    epochs: int,
    batch: int,
    hold_out: float,
    generator: torch.Generator,
    full: bool = False,
) -> Tensors:
    """Take steps over shuffled images, and return copies of the best tensors.

    From 10 images on, a share of them is held out: it stops once their loss has not fallen for 20
    epochs and 160 steps, and the tensors are those of the epoch with the lowest one. With fewer
    images, or no share, it runs all epochs.

    Args:
        name: of the head, in its progress.
        rows: (B, P, C) vectors of the places of B images.
        tensors: of the network, which `step` changes in place.
        step: (N, C) vectors -> takes one step of the optimiser.
        loss: (N, C) vectors -> the loss of the network in evaluation.
        epochs: most passes over the images.
        batch: images in a step.
        hold_out: share of the images held out.
        generator: of the order and of what is held out.
        full: whether a step with fewer images than `batch` is left out, unless it is the only one.
    """
    count = len(rows)
    order = torch.randperm(count, generator=generator).tolist()
    aside = max(1, round(hold_out * count)) if hold_out and count >= LEAST else 0
    held_out, shown = rows[order[:aside]].flatten(0, 1), order[aside:]
    steps = max(1, len(shown) // batch if full else math.ceil(len(shown) / batch))
    patience = max(PATIENCE, math.ceil(STEADY / steps))
    best, lowest, best_epoch = tensors, float("inf"), 0
    began = time.monotonic()
    with ExitStack() as stack:
        bar: Progress | None = None
        for epoch in range(1, epochs + 1):
            for places in torch.randperm(len(shown), generator=generator).split(batch)[:steps]:
                step(rows[[shown[i] for i in places]].flatten(0, 1))
            if aside:
                with torch.no_grad():
                    found = loss(held_out).item()
                if found < lowest:
                    best, lowest, best_epoch = copied(tensors), found, epoch
                if epoch - best_epoch >= patience:
                    break
            if bar is not None:
                bar.advance()
            elif time.monotonic() - began > SLOW:
                progress = Progress(epochs, verb=f"{name}: fitted", done=epoch, unit="epochs")
                bar = stack.enter_context(progress)
        if bar is not None:
            bar.reach(epoch, epoch)
    return copied(best)


def copied(tensors: Tensors) -> Tensors:
    """Copies without gradients."""
    return {name: x.detach().clone() for name, x in tensors.items()}


def batch_norm(
    rows: torch.Tensor, tensors: Tensors, name: str, training: bool = False
) -> torch.Tensor:
    """(N, C) -> (N, C): batch normalisation; in training its running statistics follow the rows."""
    mean, variance = (tensors[f"{name}.{part}"] for part in RUNNING)
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    return F.batch_norm(rows, mean, variance, weight, bias, training)


def new_norm(width: int, name: str) -> Tensors:
    """The tensors of a batch norm before the first step."""
    ones, zeros = torch.ones, torch.zeros
    parts = {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
    return {f"{name}.{part}": make(width) for part, make in parts.items()}


def uniform(shape: tuple[int, ...], inputs: int, generator: torch.Generator) -> torch.Tensor:
    """Even draws up to 1/√inputs, torch's own start of weights and biases."""
    return (2 * torch.rand(shape, generator=generator) - 1) * inputs**-0.5


def learnable(tensors: Tensors) -> Tensors:
    """Those that gradients change, which they are told to collect from now on."""
    found = {name: x for name, x in tensors.items() if not name.endswith(RUNNING)}
    for x in found.values():
        x.requires_grad_()
    return found


def check_rows(name: str, rows: torch.Tensor) -> None:
    """Refuse (B, P, C) vectors of normal images that no network can be fitted on.

    Raises:
        HeadError: NaN or infinity, or the same vector everywhere.
    """
    bad = (~rows.isfinite()).flatten(1).any(dim=1).sum().item()
    if bad:
        raise HeadError(
            f"Head {name} cannot be fitted: {bad} of {len(rows)} normal images have NaN or "
            "infinity among their features; remove them, or compute in float32."
        )
    if (rows == rows[0, 0]).all():
        raise HeadError(
            f"Head {name} cannot be fitted: all places of the normal images have the same "
            "features; give images of the object, or another backbone."
        )
