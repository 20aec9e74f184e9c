"""How long a product takes, by a clock of the test's own."""

from types import SimpleNamespace

import pytest
import torch

from vlad.system import machine


@pytest.fixture
def clock(monkeypatch):
    """Makes each of the measured products take so many seconds; gives how many there were."""

    def ticks(seconds: float) -> list[float]:
        asked: list[float] = []

        def now() -> float:
            asked.append((len(asked) + 1) // 2 * seconds)
            return asked[-1]

        monkeypatch.setattr(machine, "time", SimpleNamespace(perf_counter=now))
        return asked

    return ticks


def product(budget: float) -> float:
    return machine.product_ms(torch.device("cpu"), torch.float32, budget)


def test_a_quick_product_is_measured_whole(clock):
    asked = clock(0.001)
    assert product(1.0) == 1.0
    assert len(asked) == 2 * 12  # of nine parts, and three times the whole


def test_a_slow_product_is_measured_in_part_and_scaled_up(clock):
    asked = clock(10.0)
    assert product(1.0) == 10_000 / 4 * 1024
    assert len(asked) == 2
    asked = clock(0.1)
    assert product(0.35) == 100 / 8 * 1024
    assert len(asked) == 6
