import asyncio
import threading

import pytest

from vlad.errors import InputError
from vlad.serving.threads import in_own_thread


def test_what_is_done_in_a_thread_comes_back_and_the_thread_ends():
    threads = []

    def work(a, b):
        threads.append(threading.current_thread())
        return a - b

    assert in_own_thread(work, 5, b=2).result(20) == 3
    threads[0].join(20)
    assert not threads[0].is_alive() and threads[0] is not threading.current_thread()


def test_what_goes_wrong_in_a_thread_is_raised_where_it_was_asked_for():
    def work():
        raise InputError("not there")

    with pytest.raises(InputError, match="not there"):
        in_own_thread(work).result(20)


def test_whoever_waits_may_leave_and_the_work_ends_in_silence(monkeypatch):
    go, threads, unheard = threading.Event(), [], []
    monkeypatch.setattr(threading, "excepthook", unheard.append)

    def work():
        threads.append(threading.current_thread())
        assert go.wait(20)
        raise InputError("its files are closed by now")

    async def leave():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(in_own_thread(work)), 0.1)

    asyncio.run(leave())
    go.set()
    threads[0].join(20)
    assert unheard == []
