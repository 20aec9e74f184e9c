"""A thread that delivers events, so that scoring never waits for the machine that gets them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import ClassVar, Protocol

from vlad.errors import OutputError
from vlad.results.folder import RunFolder
from vlad.runs.events.event import Event
from vlad.runs.events.outbox import Outbox
from vlad.system.text import counted

LONG = 100  # events; from so many on, the queue is said to be long
FIRST, LONGEST = 1.0, 60.0  # seconds before the second attempt, and at most
GRACE = 10.0  # seconds to deliver what waits when the run ends


class Channel(Protocol):
    """A way to tell of an event.

    Attributes:
        name: of its files in the run's folder.
        title: what sentences call it.
        retries: whether an event that failed is sent again, until it is delivered.
    """

    name: ClassVar[str]
    retries: ClassVar[bool]

    @property
    def title(self) -> str: ...

    def send(self, event: str, body: bytes) -> str | None:
        """Send the JSON of an event with this id; return why that failed, or None."""


def pauses(first: float = FIRST, longest: float = LONGEST) -> Iterator[float]:
    """Seconds between attempts, each twice as long as the one before, up to the longest."""
    while True:
        yield min(first, longest)
        first *= 2


class Courier:
    """Delivers the events of an outbox through a channel, in order and at least once.

    Args:
        say: called with a sentence, from the courier's thread too.
        pauses: makes the seconds between attempts.
        grace: seconds to deliver what waits when it is closed.
    """

    def __init__(
        self,
        channel: Channel,
        outbox: Outbox,
        say: Callable[[str], None],
        pauses: Callable[[], Iterator[float]] = pauses,
        grace: float = GRACE,
    ):
        self.channel, self.outbox, self.say = channel, outbox, say
        self.pauses, self.grace = pauses, grace
        self.failed = 0  # events that were given up
        self._told: set[str] = set()
        self._end: float | None = None  # of the run, by the monotonic clock
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._deliver, name=channel.name, daemon=True)

    def start(self) -> Courier:
        """Begin with what an earlier process left.

        Raises:
            OutputError: as `Outbox.open`.
        """
        self.outbox.open()
        self._thread.start()
        return self

    def add(self, events: Iterable[Event]) -> None:
        """Take events, which are on disk afterwards.

        Raises:
            OutputError: they cannot be written.
        """
        self.outbox.add(events)
        if self.outbox.waiting >= LONG:
            self._tell_once("long", f"{LONG} events or more wait; scoring goes on.")
        with self._changed:
            self._changed.notify()

    def end(self) -> None:
        """Begin to deliver only what can be delivered soon."""
        with self._changed:
            self._end = time.monotonic() + self.grace
            self._changed.notify()

    def close(self) -> None:
        """End, and say what could not be delivered."""
        if self._end is None:
            self.end()
        self._thread.join()
        if self.failed:
            self.say(f"{self.channel.title}: {counted(self.failed, 'event')} failed.")
        if waiting := self.outbox.waiting:
            self.say(
                f"{self.channel.title}: {counted(waiting, 'event')} not delivered yet, kept in "
                f"{self.outbox.file}; the next start with the same options sends them."
            )

    def _deliver(self) -> None:
        pauses, failures = self.pauses(), 0
        while self._wait():
            ending = self._end is not None
            try:
                event, body = self.outbox.first()
                reason = self.channel.send(event, body)
            except (OSError, ValueError) as error:  # the outbox cannot be read for now
                event, reason, again = "", f"{self.outbox.file}: {error}", True
            else:
                again = reason is not None and self.channel.retries
            if reason is not None:
                self.failed += not again
                then = "kept and sent again" if again else "not sent again"
                self._tell_once(reason, f"{reason}; the event is {then}.")
            if again:
                failures += 1
                # at the end of a run there is one more attempt, and one failure alone is forgiven
                if self._closed_within(next(pauses)) and ending and failures > 1:
                    return
                continue
            pauses, failures = self.pauses(), 0
            try:
                self.outbox.done(event, len(body))
            except OutputError as error:
                self._tell_once("marks", f"{error} A restart sends events again.")

    def _wait(self) -> bool:
        """Wait for an event -> whether to deliver it."""
        with self._changed:
            self._changed.wait_for(lambda: self.outbox.waiting or self._end is not None)
            late = self._end is not None and time.monotonic() >= self._end
            return self.outbox.waiting > 0 and not late

    def _closed_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._end is not None, seconds)

    def _tell_once(self, key: str, words: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self.say(f"{self.channel.title}: {words}")


Post = Callable[[Sequence[Event]], None]


@contextmanager
def couriers_of(
    folder: RunFolder, channels: Sequence[Channel], say: Callable[[str], None]
) -> Iterator[Post]:
    """Couriers of these channels while a run goes on -> a function that puts events on disk, for
    them to deliver.

    Raises:
        OutputError: a file cannot be written or read back.
    """
    with ExitStack() as open_ones:
        couriers = []
        for channel in channels:
            outbox = Outbox(folder.out / "events", channel.name)
            couriers.append(Courier(channel, outbox, say).start())
            open_ones.callback(couriers[-1].close)

        def post(events: Sequence[Event]) -> None:
            for courier in couriers:
                courier.add(events)

        try:
            yield post
        finally:
            for courier in couriers:  # all at once, so that their time does not add up
                courier.end()
