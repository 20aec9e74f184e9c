"""Delivery behind the back of scoring: at least once, in order, with fewer and fewer attempts."""

import itertools
import threading
import time
from types import SimpleNamespace

import pytest
from receiver import Receiver

from vlad.runs.events import Webhook
from vlad.runs.events.courier import LONG, Courier, couriers_of, pauses
from vlad.runs.events.outbox import Outbox


def events(*names) -> list[dict]:
    return [{"id": name, "path": f"{name}.png"} for name in names]


class Recorder:
    """A channel that fails as often as it is told to, and says what it was asked to send."""

    name, title = "recorder", "Recorder"

    def __init__(self, failures=0, retries=True, gate=None):
        self.failures, self.retries, self.gate = failures, retries, gate
        self.sent, self.entered = [], threading.Event()

    def send(self, event, body):
        self.entered.set()
        if self.gate:
            assert self.gate.wait(600)
        self.sent.append(event)
        self.failures -= 1
        return "answered 500" if self.failures >= 0 else None


@pytest.fixture
def courier(tmp_path):
    """Starts a courier in one folder, with what it says."""

    def start(channel, **options):
        said = []
        outbox = Outbox(tmp_path, channel.name)
        options.setdefault("pauses", lambda: itertools.repeat(0.001))
        return Courier(channel, outbox, said.append, **options).start(), said

    return start


def test_pauses_double_up_to_a_minute():
    assert list(itertools.islice(pauses(), 8)) == [1, 2, 4, 8, 16, 32, 60, 60]


def test_what_fails_is_sent_again_until_it_is_delivered(courier):
    with Receiver(500, 302, 503) as receiver:
        made, said = courier(Webhook.of(receiver.url, None))
        made.add(events("a", "b"))
        receiver.until(lambda: len(receiver.posts) == 5)
        made.close()
    assert receiver.ids == ["a", "a", "a", "a", "b"]
    assert made.outbox.waiting == 0
    assert len(said) == 3 and all("kept and sent again" in words for words in said)
    assert set(receiver.paths) == {"/parts?line=1"}


def test_pauses_are_short_again_after_a_success(courier):
    asked = []

    def short():
        for number in itertools.count():
            asked.append(number)
            yield 0.001

    with Receiver(500, 500, 200, 500, 200) as receiver:
        made, said = courier(Webhook.of(receiver.url, None), pauses=short)
        made.add(events("a", "b"))
        receiver.until(lambda: len(receiver.posts) == 5)
        made.close()
    assert asked == [0, 1, 0]
    assert len(said) == 1  # one sentence for each reason


def test_a_receiver_that_is_away_loses_nothing_and_the_next_start_goes_on(courier):
    down = Recorder(failures=10**6)
    made, said = courier(down)
    made.add(events("a", "b"))
    assert down.entered.wait(600)
    made.close()
    assert "2 events not delivered yet" in said[-1] and "next start" in said[-1]
    up = Recorder()
    again, said = courier(up)
    again.add(events("b", "c"))
    again.close()
    assert up.sent == ["a", "b", "c"] and not said


def test_scoring_never_waits_and_a_long_queue_is_said_once(courier):
    gate = threading.Event()
    channel = Recorder(gate=gate)
    made, said = courier(channel)
    made.add(events("first"))
    assert channel.entered.wait(600)
    for i in range(LONG + 20):  # returns though the channel hangs
        made.add(events(str(i)))
    assert made.outbox.waiting == LONG + 21 and not channel.sent
    assert said == [f"Recorder: {LONG} events or more wait; scoring goes on."]
    gate.set()
    made.close()
    assert channel.sent == ["first", *map(str, range(LONG + 20))]


def test_the_end_of_a_run_waits_only_so_long(courier):
    gate = threading.Event()
    channel = Recorder(gate=gate)
    made, said = courier(channel, grace=0.0)
    made.add(events("a", "b", "c"))
    assert channel.entered.wait(600)
    threading.Timer(0.1, gate.set).start()
    made.close()
    assert channel.sent == ["a"] and "2 events not delivered" in said[-1]


def test_one_failure_at_the_end_does_not_leave_the_rest(courier):
    gate = threading.Event()
    channel = Recorder(failures=1, gate=gate)
    made, said = courier(channel)
    made.add(events("a", "b"))
    assert channel.entered.wait(600)
    threading.Timer(0.1, gate.set).start()
    made.close()
    assert channel.sent == ["a", "a", "b"] and len(said) == 1


@pytest.mark.parametrize(("failures", "left"), [(2, 0), (9, 1)])
def test_the_end_of_a_run_cuts_a_long_pause_short_for_one_more_attempt(courier, failures, left):
    waiting = threading.Event()

    def long():
        yield 0.001
        waiting.set()
        yield from itertools.repeat(600.0)

    channel = Recorder(failures=failures)
    made, _ = courier(channel, pauses=long, grace=600.0)
    made.add(events("a"))
    assert waiting.wait(600)
    made.close()
    assert channel.sent == ["a"] * 3 and made.outbox.waiting == left


def test_a_channel_without_retries_goes_on_and_counts(courier):
    channel = Recorder(failures=2, retries=False)
    made, said = courier(channel)
    made.add(events("a", "b", "c"))
    made.close()
    assert channel.sent == ["a", "b", "c"]
    assert said == [
        "Recorder: answered 500; the event is not sent again.",
        "Recorder: 2 events failed.",
    ]
    assert courier(Recorder())[0].outbox.waiting == 0


def test_all_channels_end_at_the_same_time(tmp_path):
    class First(Recorder):
        name = "first"

    class Last(Recorder):
        name = "last"

        def send(self, event, body):
            deadline = time.monotonic() + 20
            while any(thread.name == First.name for thread in threading.enumerate()):
                if time.monotonic() > deadline:
                    return "waited for the other one"
                time.sleep(0.01)
            return super().send(event, body)

    first, last, said = First(failures=10**6), Last(retries=False), []
    for channel in (first, last):
        Outbox(tmp_path / "events", channel.name).open().add(events("a"))
    with couriers_of(SimpleNamespace(out=tmp_path), [first, last], said.append):
        assert first.entered.wait(600)
    assert last.sent == ["a"]
