"""A thread for one piece of work with tensors."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_own_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """What `work` returns or raises, done in a thread that ends with it.

    Every thread that computes with tensors gets helpers from OpenMP, which it keeps for its life.
    Where all helpers are more than the cores they sleep between two operations, and one image
    takes half as long again; so only the thread that scores may stay.
    """
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # whoever waits may leave, but not call the work off

    def run() -> None:
        try:
            done.set_result(work(*args, **kwargs))
        except BaseException as error:  # it goes to the one who waits
            done.set_exception(error)

    Thread(target=run, name="vlad-once", daemon=True).start()
    return done
