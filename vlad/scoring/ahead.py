"""Work ahead of whoever takes its results: images read in threads, batches launched on a GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

from vlad.system.processor import cores

T = TypeVar("T")

READERS = 2  # decoding threads: enough to hide decoding behind a backbone on the CPU
MOST_READERS = 8  # each holds one image at full size


def readers(device: torch.device | str) -> int:
    """Threads that decode and resize images for a backbone on a device.

    For a GPU they are all cores but one, which launches the work: 2 to 8.
    """
    if torch.device(device).type != "cuda":
        return READERS
    return max(READERS, min(MOST_READERS, cores() - 1))


def ahead(pool: ThreadPoolExecutor, work: Callable, items: Iterable, depth: int) -> Iterator:
    """`map` in threads, in order, at most `depth` items ahead of what is taken."""
    waiting: deque[Future] = deque()
    items = iter(items)
    try:
        waiting.extend(pool.submit(work, item) for item in islice(items, depth))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(items, 1))
    finally:
        for future in waiting:
            future.cancel()


def fetched(launched: Iterable[Callable[[], T]], device: torch.device | str) -> Iterator[T]:
    """The results of batches, in order, each by the function that waits for it.

    On a GPU the next batch is launched before the host waits for one, so that the device always
    has work. If launching fails or is interrupted, what was launched before still comes first, and
    the error when the next result is asked for.

    Args:
        launched: each step launches a batch.
    """
    behind = 1 if torch.device(device).type == "cuda" else 0
    steps, waiting = iter(launched), deque[Callable[[], T]]()
    stopped: BaseException | None = None
    while stopped is None:
        try:
            waiting.append(next(steps))
        except BaseException as error:  # StopIteration too
            stopped = error
        while len(waiting) > (behind if stopped is None else 0):
            yield waiting.popleft()()
    try:
        if not isinstance(stopped, StopIteration):
            raise stopped
    finally:
        stopped = None  # its traceback holds this frame
