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
