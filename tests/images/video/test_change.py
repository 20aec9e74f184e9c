"""Images of the change between two frames."""

import threading
from types import SimpleNamespace

import numpy as np
from PIL import Image

from vlad.images.video import Frame
from vlad.images.video.change import change_of


def test_grey_where_nothing_changed_and_half_of_the_change_elsewhere():
    before = np.full((8, 10, 3), 100, np.uint8)
    now = before.copy()
    now[2, 3] = (0, 100, 255)
    found = np.array(change_of(Image.fromarray(now), Image.fromarray(before)))
    assert found[2, 3].tolist() == [78, 128, 205]
    found[2, 3] = 128
    assert (found == 128).all()


def test_the_whole_range_fits():
    black, white = (Image.new("RGB", (8, 8), (value,) * 3) for value in (0, 255))
    assert change_of(white, black).getpixel((0, 0)) == (255, 255, 255)
    assert change_of(black, white).getpixel((0, 0)) == (0, 0, 0)


def test_a_frame_of_another_size_is_brought_to_this_one():
    assert change_of(Image.new("RGB", (8, 8)), Image.new("RGB", (16, 9))).size == (8, 8)


def test_a_frame_is_converted_by_one_thread_at_a_time():
    entered, threads = threading.Event(), []

    class Decoded:
        width = height = 64
        format = SimpleNamespace(name="yuv420p")
        rotation = 0

        def reformat(self, *_, **__):
            if threads:
                entered.set()
            else:
                threads.append(threading.Thread(target=frame.image, args=(10**6, "a")))
                threads[0].start()
                assert not entered.wait(0.3)
            return SimpleNamespace(to_ndarray=lambda: np.zeros((64, 64, 3), np.uint8))

    frame = Frame(Decoded(), 0, 0.0, 0)
    frame.image(10**6, "a")
    threads[0].join()
    assert entered.is_set()
