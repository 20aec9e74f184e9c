"""The time of parts, on the CPU and on a GPU that there need not be."""

from collections import defaultdict

import pytest
import torch

from vlad.system import clock
from vlad.system.clock import Clock


@pytest.fixture
def gpu(monkeypatch):
    """A GPU's stream as a list of seconds: the steps given to it, of which some are done."""

    class Stream:
        def __init__(self):
            self.given = 0.0  # seconds of work launched so far
            self.done = 0.0

    stream = Stream()

    class Event:
        def __init__(self, enable_timing=False):
            assert enable_timing

        def record(self, on):
            assert on is stream
            self.at = stream.given

        def query(self):
            return self.at <= stream.done

        def synchronize(self):
            stream.done = max(stream.done, self.at)

        def elapsed_time(self, end):
            assert end.query()
            return 1000 * (end.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    return stream


def test_parts_of_a_gpu_take_its_own_time(gpu):
    made = Clock(torch.device("cuda"))
    for seconds in (2.0, 3.0):
        with made.part("backbone"):
            gpu.given += seconds
        with made.part("memory"):
            gpu.given += seconds / 2
    assert gpu.done == 0  # nothing waited
    assert made.seconds == {"backbone": 5.0, "memory": 2.5}
    assert gpu.done == gpu.given
    made.restart()
    assert made.seconds == {}


def test_parts_that_are_done_are_not_kept(gpu):
    made = Clock(torch.device("cuda"))
    for _ in range(100):
        with made.part("backbone"):
            gpu.given += 1
        gpu.done = gpu.given - 1
    assert len(made._open) <= 2


def test_parts_of_a_cpu_take_the_time_of_the_host(monkeypatch):
    now = iter([10.0, 12.5, 20.0, 21.0])
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(now))
    made = Clock(torch.device("cpu"))
    for _ in range(2):
        with made.part("backbone"):
            pass
    assert made.seconds == defaultdict(float, backbone=3.5)
