"""What is said of an image does not depend on which others come with it, or when."""

import time
import weakref
from functools import partial
from threading import Barrier

import numpy as np
import pytest
from PIL import Image

from vlad.errors import ImageError
from vlad.scoring.pipeline import Prepared
from vlad.serving import app
from vlad.serving.batching import Batcher, Busy
from vlad.serving.detectors import Served, Store
from vlad.serving.limits import Limits


@pytest.fixture
def batcher():
    made = []

    def make(*args):
        made.append(Batcher(*args))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def busy(batcher, slow, eventually):
    """A batcher whose backbone is at an image of its own, 0, until `slow.go` is set."""

    def make(*args):
        made = batcher(*args)
        made.submit(slow, None, [grey(0)])
        eventually(slow.began.is_set)
        return made

    return make


def grey(value):
    return lambda: Image.new("RGB", (8, 8), (value,) * 3)


@pytest.mark.parametrize("tile", [None, 48])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_scores_are_those_of_images_alone(batcher, memory, drawn, batch_size, tile, small_file):
    import vlad

    detector = memory
    if tile:
        detector = vlad.load("memory", backbone=str(small_file), device="cpu", tile=tile)
        detector.fit(drawn[:2])
    found = batcher(batch_size, 100).submit(
        detector, None, [partial(lambda x: x, i) for i in drawn]
    )
    for image, future in zip(drawn, found, strict=True):
        alone = detector.score(image)
        assert future.result(120).size == image.size
        assert future.result().image_score == pytest.approx(alone.image_score[0], abs=1e-6)
        np.testing.assert_allclose(future.result().anomaly_map, alone.anomaly_map[0], atol=1e-6)


def test_only_what_is_alike_shares_a_pass(batcher, slow, eventually):
    counted = []
    made = batcher(4, 100, counted.append)
    first = made.submit(slow, None, [grey(0)])
    eventually(slow.began.is_set)
    waiting = [("nut", [1, 2]), ("a", [3]), ("b", [4]), ("a", [5]), ("last", [6, 7])]
    rest = [made.submit(slow, c, [grey(value) for value in values]) for c, values in waiting]
    # both readers are at the last ones, so all others are ready for the backbone
    eventually(lambda: {6, 7} <= set(slow.read))
    slow.go.set()
    scores = [f.result(120).image_score for group in (first, *rest) for f in group]
    assert scores == list(range(8))
    assert slow.batches[:4] == [(None, [0]), ("nut", [1, 2]), ("a", [3, 5]), ("b", [4])]
    assert all(category == "last" for category, _ in slow.batches[4:])
    assert counted == [len(values) for _, values in slow.batches]


def test_a_pass_is_no_larger_than_it_may_be(busy, slow, eventually):
    made = busy(3, 100)
    found = made.submit(slow, None, [grey(value) for value in range(1, 9)])
    # six may be read ahead of a backbone that is busy
    eventually(lambda: len(slow.read) == 7)
    slow.go.set()
    assert [future.result(120).image_score for future in found] == list(range(1, 9))
    assert len(slow.batches[1][1]) == 3 and max(len(values) for _, values in slow.batches) == 3


def test_images_to_be_cut_wait_by_two_and_pass_alone(busy, slow, eventually):
    slow.tile = 48
    made = busy(3, 100)
    found = made.submit(slow, None, [grey(value) for value in range(1, 9)])
    eventually(lambda: len(slow.read) == 3)
    slow.go.set()
    assert [future.result(120).image_score for future in found] == list(range(1, 9))
    assert all(len(values) == 1 for _, values in slow.batches)


def test_an_image_in_tiles_is_given_up_in_the_middle(batcher, slow, eventually):
    slow.tile = 48
    slow.go.set()

    def tiles():
        slow.began.set()
        for value in range(50_000):  # more than anyone waits for
            time.sleep(0.01)
            yield value

    slow.prepare = lambda image: Prepared(image.size, tiles())
    made = batcher(4, 100)
    (given_up,) = made.submit(slow, None, [grey(0)])
    eventually(slow.began.is_set)
    assert given_up.cancel()
    slow.prepare = lambda image: Prepared(image.size, [7])
    (next_one,) = made.submit(slow, None, [grey(0)])
    assert next_one.result(120).image_score == 7
    assert slow.batches == [(None, [7])]


def test_nothing_is_kept_of_what_was_scored(batcher, slow, eventually):
    made = batcher(4, 100)
    kept = [weakref.ref(done) for done in made.submit(slow, None, [grey(1), grey(2)])]
    slow.go.set()
    eventually(lambda: sum(len(values) for _, values in slow.batches) == 2)
    eventually(lambda: [done() for done in kept] == [None, None])


def test_the_queue_takes_all_or_none(busy, slow):
    made = busy(1, 3)
    made.submit(slow, None, [grey(0)] * 2)
    with pytest.raises(Busy):
        made.submit(slow, None, [grey(0)] * 2)
    assert len(made) == 2
    made.submit(slow, None, [grey(0)])


def test_a_bad_image_fails_alone_and_a_cancelled_one_is_not_scored(busy, slow, eventually):
    def broken():
        raise ImageError("broken")

    made = busy(8, 100)
    good, bad, given_up, more = made.submit(slow, None, [grey(1), broken, grey(2), grey(3)])
    assert given_up.cancel()
    with pytest.raises(ImageError, match="broken"):
        bad.result(120)  # while the backbone is busy
    slow.go.set()
    assert good.result(120).image_score == 1
    assert more.result(120).image_score == 3
    assert sorted(value for _, values in slow.batches for value in values) == [0, 1, 3]
    eventually(lambda: len(made) == 0)


def test_what_breaks_a_pass_reaches_all_who_wait_for_it_and_nobody_else(batcher, slow):
    made = batcher(8, 100)
    slow.go.set()
    failing = type("Failing", (type(slow),), {"stream": lambda *args, **more: 1 / 0})()
    found = made.submit(failing, None, [grey(1), grey(2)])
    for future in found:
        with pytest.raises(ZeroDivisionError):
            future.result(120)
    assert made.submit(slow, None, [grey(5)])[0].result(120).image_score == 5


def test_a_score_that_is_no_number_is_an_error(batcher, slow):
    slow.go.set()
    slow.prepare = lambda image: Prepared((8, 8), ["nan"])
    with pytest.raises(ImageError, match=r"^no score; score it again, or check the detector\.$"):
        batcher(1, 1).submit(slow, None, [grey(1)])[0].result(120)


def test_closing_finishes_what_waits(slow, eventually):
    made = Batcher(2, 100)
    found = made.submit(slow, None, [grey(value) for value in range(9)])
    eventually(slow.began.is_set)
    slow.go.set()
    made.close()
    assert [future.result(0).image_score for future in found] == list(range(9))
    with pytest.raises(Busy):
        made.submit(slow, None, [grey(0)])


def test_images_are_read_in_as_many_threads_as_suit_the_detectors(batcher, slow, monkeypatch):
    slow.go.set()
    together, seen = Barrier(3, timeout=60), []

    def read():
        together.wait()
        return grey(1)()

    found = batcher(2, 100, lambda count: None, 3).submit(slow, None, [read] * 3)
    assert [future.result(120).image_score for future in found] == [1, 1, 1]
    monkeypatch.setattr(app, "readers", {"cpu": 2, "cuda": 7}.__getitem__)
    monkeypatch.setattr(app, "Batcher", lambda *args: seen.append(args[-1]))
    on_gpu = type(slow)()
    on_gpu.device = "cuda"
    app.create_app(Store([Served("one", slow), Served("other", on_gpu)]), Limits())
    assert seen == [7]


def test_detectors_take_turns(batcher, slow, eventually):
    made = batcher(2, 100)
    first = made.submit(slow, "begun", [grey(0)])
    eventually(slow.began.is_set)
    others = [type(slow)() for _ in range(2)]
    for other in others:
        other.go, other.batches = slow.go, slow.batches
    waiting = [(slow, range(1, 9)), (others[0], range(11, 15)), (others[1], range(21, 23))]
    found = [made.submit(one, "a", [grey(v) for v in values]) for one, values in waiting]
    # some of each are read, though eight of the first came before
    eventually(lambda: 11 in others[0].read and 21 in others[1].read)
    assert 8 not in slow.read
    slow.go.set()
    for future in (*first, *(future for group in found for future in group)):
        future.result(120)
    assert [values[0] // 10 for _, values in slow.batches][:4] == [0, 0, 1, 2]


def test_one_detector_has_its_share_of_the_queue(busy, slow):
    made, other = busy(1, 4), type(slow)()
    other.go.set()
    made.submit(slow, None, [grey(0)] * 2, 2)
    with pytest.raises(Busy) as raised:
        made.submit(slow, None, [grey(0)], 2)
    assert raised.value.own
    made.submit(other, None, [grey(0)] * 2, 2)
    with pytest.raises(Busy) as raised:
        made.submit(other, None, [grey(0)], 3)
    assert not raised.value.own
