"""Frames read in a thread, ahead of whoever takes them."""

import threading

import pytest

from vlad.errors import InputError
from vlad.images.video import Frame
from vlad.images.video.ahead import AHEAD, read_ahead


def frames(count, begun=None, fail=None):
    for number in range(count):
        if number == fail:
            raise InputError("it broke; check the file.")
        if begun is not None:
            begun.append(number)
        yield Frame(None, number, float(number), 0)


def test_all_frames_come_in_order():
    with read_ahead(lambda: frames(50)) as found:
        assert [frame.number for frame in found] == list(range(50))


def test_an_error_comes_where_its_frame_would():
    numbers = []
    with (
        pytest.raises(InputError, match="it broke"),
        read_ahead(lambda: frames(50, fail=12)) as found,
    ):
        for frame in found:
            numbers.append(frame.number)
    assert numbers == list(range(12))


def test_no_more_than_a_few_frames_wait_and_the_thread_ends():
    begun, before = [], threading.active_count()
    with read_ahead(lambda: frames(10_000, begun)) as found:
        assert next(found).number == 0
    # those that waited, the one taken, and one or two on the way
    assert len(begun) <= AHEAD + 3
    assert threading.active_count() == before
