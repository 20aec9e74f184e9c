"""AdamW that takes shorter steps where gradients outgrow their running mean square."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

BETAS = (0.9, 0.999)
EPS = 1e-10


class StableAdamW:
    """AdamW with amsgrad, whose step of each tensor is divided by the excess of its gradient.

    The excess is the root mean square of gradient over denominator, if that is above 1 (Wortsman
    et al., 2023, arXiv 2304.13013).

    Args:
        parameters: tensors that collect gradients; `step` changes them in place.
        decay: decoupled weight decay.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], decay: float = 0.0):
        self.parameters = list(parameters)
        self.decay = decay
        self.steps = 0
        # of each tensor: mean of the gradient, of its square, and the largest of the latter so far
        self.state = [[torch.zeros_like(x) for _ in range(3)] for x in self.parameters]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take a step with this learning rate; gradients are set to None."""
        self.steps += 1
        first, second = (1 - beta**self.steps for beta in BETAS)
        for x, (mean, square, largest) in zip(self.parameters, self.state, strict=True):
            gradient = x.grad
            assert gradient is not None
            mean.lerp_(gradient, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            torch.maximum(largest, square, out=largest)
            under = largest.sqrt().div_(math.sqrt(second)).add_(EPS)
            excess = max(1.0, (gradient / under).square().mean().sqrt().item())
            x.mul_(1 - rate * self.decay)
            x.addcdiv_(mean, under, value=-rate / (first * excess))
            x.grad = None


def warm_cosine(step: int, total: int, warm: int, highest: float, lowest: float) -> float:
    """The learning rate of a step from 0: up from 0 to `highest` in `warm` steps, down to `lowest`.

    The way down is half a cosine.
    """
    if step < warm:
        return highest * step / max(1, warm - 1)
    done = (step - warm) / max(1, total - warm)
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * done)) / 2
