"""Frames decoded in a thread of their own, ahead of whoever takes them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vlad.images.video.frame import Frame

AHEAD = 8  # frames; one of 4K takes 12 MB

_Item = tuple[Frame | None, BaseException | None]


@contextmanager
def read_ahead(frames: Callable[[], Iterator[Frame]]) -> Iterator[Iterator[Frame]]:
    """The same frames, read in a thread up to 8 ahead; the thread ends with the block.

    An error of the source is raised where its frame would come.

    Args:
        frames: begins to read; called in the thread.
    """
    items: queue.Queue[_Item] = queue.Queue(AHEAD)
    closed = threading.Event()

    def put(item: _Item) -> bool:
        while not closed.is_set():
            try:
                items.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for frame in frames():
                if not put((frame, None)):
                    return
            put((None, None))
        except BaseException as error:
            put((None, error))

    def taken() -> Iterator[Frame]:
        while True:
            frame, error = items.get()
            if error is not None:
                raise error
            if frame is None:
                return
            yield frame

    thread = threading.Thread(target=read, name="frames", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        closed.set()
        thread.join()
