"""StableAdamW against its authors' program and torch's AdamW, and the learning rate."""

import numpy as np
import pytest
import torch

from vlad.maths.stable_adamw import StableAdamW, warm_cosine


def drawn(*seed):
    return torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).standard_normal((8, 5)))


def test_steps_of_the_authors(parity):
    """The gradient grows a hundredfold in the ninth step, where steps are made shorter."""
    x = (50 * drawn(0, 1, 0)).requires_grad_()
    optimiser = StableAdamW([x], decay=1e-4)
    for number, expected in enumerate(parity.case("inpformer_optimizer")["params"], 1):
        x.grad = drawn(0, 2, number) * (10 if number == 9 else 10 ** (-number / 2))
        optimiser.step(1e-3)
        assert x.grad is None
        np.testing.assert_allclose(x.detach(), expected, atol=1e-12, rtol=0)


def test_small_gradients_make_the_steps_of_adamw():
    start = drawn(0)
    mine, theirs = (start.clone().requires_grad_() for _ in range(2))
    optimiser = StableAdamW([mine], decay=0.1)
    known = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1, eps=1e-10, amsgrad=True)
    for number in range(6):
        mine.grad, theirs.grad = (drawn(1) * 0.9**number for _ in range(2))
        optimiser.step(0.01)
        known.step()
    torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)


def test_a_sudden_gradient_makes_a_shorter_step():
    """Its root mean square over that of the running mean is 10^½ times the usual at first."""
    moved = []
    for growth in (1, 1000):
        x = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        optimiser = StableAdamW([x])
        for size in (1.0, growth):
            before = x.detach().clone()
            x.grad = torch.full((4,), float(size), dtype=torch.float64)
            optimiser.step(1.0)
        moved.append((before - x.detach())[0].item())
    mean, under = 0.09 + 100, ((0.000999 + 1000) / 0.001999) ** 0.5
    first = 1 - 0.9**2
    assert moved[0] == pytest.approx(1)
    assert moved[1] == pytest.approx(mean / first / under / (1000 / under), rel=1e-6)


def test_the_learning_rate_rises_and_falls():
    rates = [warm_cosine(step, 1000, 100, 1e-3, 1e-4) for step in range(1000)]
    np.testing.assert_allclose(rates[:100], np.linspace(0, 1e-3, 100))
    falling = 1e-4 + 0.5 * 9e-4 * (1 + np.cos(np.pi * np.arange(900) / 900))
    np.testing.assert_allclose(rates[100:], falling)
    assert warm_cosine(0, 5, 0, 1e-3, 1e-4) == 1e-3
