"""A thread for one piece of tensor work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_own_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Run `work` in a thread that ends with it; return a future of its result.

    OpenMP gives every thread that computes with tensors helpers, which live as long as it does.
    With more helpers than cores, they sleep between operations and an image takes half as long
    again; so only the scoring thread may be permanent.
    """
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # callers may stop waiting, but not cancel the work

    def run() -> None:
        try:
            done.set_result(work(*args, **kwargs))
        except BaseException as error:  # passed on to the caller
            done.set_exception(error)

    Thread(target=run, name="vlad-once", daemon=True).start()
    return done


async def in_turn(lock: asyncio.Lock, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work`, run by `in_own_thread` with a lock held until it ends.

    That holds if the caller stops waiting, too: work that nobody waits for any more would otherwise
    add up with each further attempt.
    """
    await lock.acquire()
    working = asyncio.wrap_future(in_own_thread(work, *args, **kwargs))
    working.add_done_callback(lambda _: lock.release())
    return await asyncio.shield(working)
