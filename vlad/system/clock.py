"""The time that the parts of a computation take on a device."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch


class Clock:
    """Seconds spent in named parts.

    A GPU computes after the host has gone on, so there they are its own: from when it could begin
    a part to when it was done with it. If it has nothing else to do, it can begin at once, and what
    the host does for the part counts.

    Args:
        device: which computes.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._seconds: defaultdict[str, float] = defaultdict(float)
        # parts that a GPU may not be done with: name, beginning, end
        self._open: deque[tuple[str, torch.cuda.Event, torch.cuda.Event]] = deque()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to a part."""
        if self.device.type != "cuda":
            began = time.perf_counter()
            yield
            self._seconds[name] += time.perf_counter() - began
            return
        stream = torch.cuda.current_stream(self.device)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record(stream)
        yield
        end.record(stream)
        self._open.append((name, start, end))
        self._settle()

    @property
    def seconds(self) -> defaultdict[str, float]:
        """Part -> seconds so far; waits for the device."""
        for _, _, end in list(self._open):
            end.synchronize()
        self._settle()
        return self._seconds

    def restart(self) -> None:
        """Forget the time so far; waits for the device."""
        self.seconds.clear()

    def _settle(self) -> None:
        """Add up the parts that the device is done with."""
        with suppress(IndexError):  # other threads may take the last one
            while True:
                name, start, end = part = self._open.popleft()
                if not end.query():
                    self._open.appendleft(part)
                    return
                self._seconds[name] += start.elapsed_time(end) / 1000
