"""How the networks of INP-Former are fitted: their first tensors, the loss, a step."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from vlad.heads.networks import Tensors
from vlad.maths.prototypes import heads_of, prototypes, rebuilt, to_prototypes
from vlad.maths.stable_adamw import StableAdamW

SPREAD, CUT = 0.01, 3.0  # of first weights: standard deviation, and where they are cut in these
COHERENCE = 0.2  # weight of the distance to the prototypes in the loss
MINING = 3  # power of the relative distance that multiplies a place's gradient
LONGEST = 0.1  # of the gradient of all tensors together
DECAY = 1e-4
HIDDEN = 4  # times the width, in perceptrons


def initial(width: int, tokens: int, blocks: int, generator: torch.Generator) -> Tensors:
    """The tensors before the first step: narrow normal weights, biases of 0."""
    found = {"tokens": torch.randn(tokens, width, generator=generator)}
    edge = math.erf(CUT / math.sqrt(2))

    def linear(name: str, outputs: int, inputs: int) -> None:
        even = edge * (2 * torch.rand(outputs, inputs, generator=generator) - 1)
        found[f"{name}.weight"] = SPREAD * math.sqrt(2) * even.erfinv()
        found[f"{name}.bias"] = torch.zeros(outputs)

    def perceptron(name: str) -> None:
        linear(f"{name}.fc1", HIDDEN * width, width)
        linear(f"{name}.fc2", width, HIDDEN * width)

    perceptron("bottleneck")
    for name in ("extractor", *(f"decoder.{i}" for i in range(blocks))):
        for part, rows in (("q", width), ("kv", 2 * width), ("proj", width)):
            linear(f"{name}.attn.{part}", rows, width)
        for norm in ("norm1", "norm2"):
            found[f"{name}.{norm}.weight"] = torch.ones(width)
            found[f"{name}.{norm}.bias"] = torch.zeros(width)
        perceptron(f"{name}.mlp")
        if name != "extractor":
            found[f"{name}.attn.scale"] = torch.ones(heads_of(width), 1, 1)
    return found


def distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(..., D) vectors -> (...): cosine distance."""
    return 1 - F.cosine_similarity(x, y, dim=-1)


def objective(
    groups: torch.Tensor, x: torch.Tensor, tensors: Tensors
) -> tuple[torch.Tensor, torch.Tensor]:
    """(reconstruction, coherence): how badly images are rebuilt, and prototypes fit their tokens.

    Places that are rebuilt badly get a larger gradient, in proportion to the third power of their
    distance to that of the mean place; the value of the loss does not change.

    Args:
        groups: (B, G, N, D) mean tokens of each group of layers.
        x: (B, N, D) mean tokens of all layers.
    """
    found = prototypes(x, tensors)
    coherence = to_prototypes(x, found).mean()
    parts = []
    for i, made in enumerate(rebuilt(x, found, tensors, groups.shape[1])):
        true = groups[:, i]
        far = distance(true, made.detach())
        factor = (far / far.mean()).pow(MINING)[..., None]
        if made.requires_grad:
            made.register_hook(lambda gradient, factor=factor: gradient * factor)
        parts.append(distance(true.flatten(1), made.flatten(1)).mean())
    return torch.stack(parts).mean(), coherence


def total(reconstruction: torch.Tensor, coherence: torch.Tensor) -> torch.Tensor:
    """The loss of both."""
    return reconstruction + COHERENCE * coherence


def make_optimiser(tensors: Tensors) -> StableAdamW:
    """The optimiser of all tensors, which collect gradients from now on."""
    return StableAdamW([x.requires_grad_() for x in tensors.values()], DECAY)


def step(
    groups: torch.Tensor, x: torch.Tensor, tensors: Tensors, optimiser: StableAdamW, rate: float
) -> tuple[float, float, float]:
    """One step; returns reconstruction, coherence and the norm of the gradient before it."""
    reconstruction, coherence = objective(groups, x, tensors)
    total(reconstruction, coherence).backward()
    norm = torch.nn.utils.clip_grad_norm_(optimiser.parameters, LONGEST)
    optimiser.step(rate)
    return reconstruction.item(), coherence.item(), norm.item()
