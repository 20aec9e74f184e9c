import asyncio
import threading

import pytest

from vlad.errors import InputError
from vlad.serving.threads import in_own_thread, in_turn


def test_what_is_done_in_a_thread_comes_back_and_the_thread_ends():
    threads = []

    def work(a, b):
        threads.append(threading.current_thread())
        return a - b

    assert in_own_thread(work, 5, b=2).result(120) == 3
    threads[0].join(120)
    assert not threads[0].is_alive() and threads[0] is not threading.current_thread()


def test_what_goes_wrong_in_a_thread_is_raised_where_it_was_asked_for():
    def work():
        raise InputError("not there")

    with pytest.raises(InputError, match="not there"):
        in_own_thread(work).result(120)


def test_whoever_waits_may_leave_and_the_work_ends_in_silence(monkeypatch):
    began, go, threads, unheard = threading.Event(), threading.Event(), [], []
    monkeypatch.setattr(threading, "excepthook", unheard.append)

    def work():
        threads.append(threading.current_thread())
        began.set()
        assert go.wait(120)
        raise InputError("its files are closed by now")

    async def leave():
        working = asyncio.wrap_future(in_own_thread(work))
        assert began.wait(120)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(working, 0.1)

    asyncio.run(leave())
    go.set()
    threads[0].join(120)
    assert unheard == []


def test_work_that_nobody_waits_for_still_keeps_others_out():
    began, go, order = threading.Event(), threading.Event(), []

    def first():
        began.set()
        assert go.wait(120)
        order.append("first")
        raise InputError("its files are closed by now")

    async def leave():
        lock = asyncio.Lock()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(in_turn(lock, first), 0.1)
        assert began.wait(120) and lock.locked()
        second = asyncio.ensure_future(in_turn(lock, order.append, "second"))
        await asyncio.sleep(0.1)
        assert order == []
        go.set()
        await second
        assert order == ["first", "second"] and not lock.locked()

    asyncio.run(leave())
