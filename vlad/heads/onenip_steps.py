"""How the networks of OneNIP are fitted: their first tensors, drawn defects, the loss, a step."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from vlad.heads.networks import Tensors, learnable, new_norm, uniform
from vlad.maths.one_prompt import DEPTH, rebuilt, refined

WIDTH, INNER, NARROW = 256, 1024, 128  # of the tokens, the perceptrons and the refiner
Losses = tuple[torch.Tensor, torch.Tensor]  # mean square, dice

RATE, DECAY = 1e-4, 1e-4
DICE = 0.5  # weight of its loss
JITTER = 20  # noise of a token in training: its length by its channels, times this
DROPOUT = 0.1
LONGEST = 0.1  # of the gradient of all tensors together
LEAST, MOST = 0.1, 0.4  # sides of a drawn defect, in sides of the grid


def initial(channels: int, grid: tuple[int, int], generator: torch.Generator) -> Tensors:
    """The tensors before the first step, as torch begins these modules."""
    found = {
        name: torch.rand(length, WIDTH // 2, generator=generator)
        for name, length in zip(("row", "column"), grid, strict=True)
    }

    def linear(name: str, *shape: int, fan: int = 0) -> None:
        fan = fan or shape[1]
        found[f"{name}.weight"] = uniform(shape, fan, generator)
        found[f"{name}.bias"] = uniform(shape[:1], fan, generator)

    def attention(name: str) -> None:
        linear(f"{name}.in", 3 * WIDTH, WIDTH)
        linear(f"{name}.out", WIDTH, WIDTH)

    def norm(name: str) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = torch.ones(WIDTH), torch.zeros(WIDTH)

    linear("input", WIDTH, channels)
    for kind, names, norms in (
        ("encoder", ("attention",), 2),
        ("decoder", ("to_image", "to_prompt"), 3),
    ):
        for i in range(DEPTH):
            for name in names:
                attention(f"{kind}.{i}.{name}")
            linear(f"{kind}.{i}.linear1", INNER, WIDTH)
            linear(f"{kind}.{i}.linear2", WIDTH, INNER)
            for n in range(norms):
                norm(f"{kind}.{i}.norm{n + 1}")
    attention("last")
    norm("norm")
    linear("output", channels, WIDTH)
    for i, before in ((0, channels), (4, NARROW)):
        shape = (NARROW, before, 3, 3)
        found[f"refiner.{i}.weight"] = uniform(shape, 9 * before, generator)
        found |= new_norm(NARROW, f"refiner.{i + 1}")
        linear(f"refiner.{i + 3}", NARROW, NARROW, 2, 2, fan=4 * NARROW)
    linear("refiner.8", 1, NARROW, 1, 1)
    return found


def with_defects(
    rows: torch.Tensor, grid: tuple[int, int], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, N, C) tokens -> the same with a defect drawn in each, and (B, h, w) where it is.

    A rectangle takes the tokens of another place, of the same or another image. In every second
    image, by a coin, noise as large as the spread of each channel is added to them.
    """
    images = rows.unflatten(1, grid)
    drawn, masks = images.clone(), torch.zeros(images.shape[:3], device=rows.device)
    spread = rows.flatten(0, 1).std(dim=0)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    for i in range(len(rows)):
        h, w = (number(max(1, round(LEAST * n)), max(1, round(MOST * n))) for n in grid)
        top, left, down, right = (
            number(0, n - side) for n, side in zip(grid * 2, (h, w) * 2, strict=True)
        )
        part = images[number(0, len(rows) - 1), down : down + h, right : right + w]
        if number(0, 1):
            part = part + spread * torch.randn(part.shape, generator=generator).to(part)
        drawn[i, top : top + h, left : left + w] = part
        masks[i, top : top + h, left : left + w] = 1
    return drawn.flatten(1, 2), masks


def objective(
    clean: torch.Tensor,
    drawn: torch.Tensor,
    prompt: torch.Tensor,
    masks: torch.Tensor,
    noise: torch.Tensor,
    tensors: Tensors,
    grid: tuple[int, int],
    drop: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
    training: bool = False,
) -> Losses:
    """(mean square, dice): both images are to become the clean one, and the defect to be found.

    Args:
        clean, drawn, prompt: (B, N, C) tokens of images, of the same with defects, and of prompts.
        masks: (B, H, W) where the defects are, at any size.
        noise: (3B, N, C) standard normal, for these, or 0.
    """
    tokens = torch.cat([clean, drawn, prompt])
    length = tokens.norm(dim=-1, keepdim=True) / tokens.shape[-1]
    both, beside = (tokens + JITTER * length * noise).split([2 * len(clean), len(clean)])
    made = rebuilt(both, beside.repeat(2, 1, 1), tensors, grid, drop)
    square = (made - clean.repeat(2, 1, 1)).square().mean()
    # compared with the tokens before the noise
    logits = refined((made - tokens[: len(both)]).abs(), tensors, grid, training)
    found = F.interpolate(logits, masks.shape[1:], mode="bilinear", align_corners=True)
    true = torch.cat([torch.zeros_like(masks), masks])
    return square, dice(found[:, 0].sigmoid().flatten(1), true.flatten(1))


def dice(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """The mean over (B, N) maps; the overlap is counted once, as its authors have it."""
    sizes = found.square().sum(dim=1) + true.square().sum(dim=1)
    return (1 - ((found * true).sum(dim=1) + 1) / (sizes + 1)).mean()


def total(square: torch.Tensor, overlap: torch.Tensor) -> torch.Tensor:
    """The loss of both."""
    return square + DICE * overlap


def make_optimiser(tensors: Tensors) -> torch.optim.Optimizer:
    """AdamW of all tensors, which collect gradients from now on."""
    return torch.optim.AdamW(learnable(tensors).values(), lr=RATE, weight_decay=DECAY)


def step(
    optimiser: torch.optim.Optimizer, square: torch.Tensor, overlap: torch.Tensor
) -> tuple[float, float, float]:
    """A step down both losses; returns these and the norm of the gradient before it."""
    optimiser.zero_grad()
    total(square, overlap).backward()
    parameters = [x for group in optimiser.param_groups for x in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, LONGEST)
    optimiser.step()
    return square.item(), overlap.item(), norm.item()
