"""A stream or camera of which only the latest frame is kept, however long it goes away."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from vlad.images.video import opening
from vlad.images.video.frame import Frame
from vlad.images.video.opening import check_installed, decoded, opened, reason
from vlad.images.video.sampling import Sampling
from vlad.images.video.source import Video
from vlad.system.text import counted

FIRST, LONGEST = 1.0, 60.0  # seconds before the source is opened again, and at most
REPORT = 600.0  # seconds between two sentences about frames that were dropped
CLOSING = 15.0  # seconds to wait for a read that goes on


class Live:
    """Reads a live source in a thread of its own, so that scoring never falls behind it.

    A frame that is not taken before the next one comes is dropped and counted. A source that is
    lost is opened again after 1, 2, 4 ... and at most 60 s, for as long as it takes.

    Args:
        sampling: which frames are due.
        say: called with a sentence, from the thread too: once for each loss and return, at
            intervals for dropped frames, and at the end.
        first: seconds before the source is opened again.

    Attributes:
        dropped: number of frames that were due and not taken.
    """

    def __init__(
        self,
        video: Video,
        sampling: Sampling,
        say: Callable[[str], None],
        first: float = FIRST,
    ):
        self.video, self.sampling, self.say, self.first = video, sampling, say, first
        self.dropped = 0
        self._damaged: Counter[str] = Counter()
        self._frame: Frame | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name=video.name, daemon=True)

    def __enter__(self) -> Live:
        check_installed(self.video.name)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(CLOSING)
        self._report()

    def latest(self, seconds: float) -> Frame | None:
        """The latest frame that was not taken yet; None if none comes within `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None, seconds)
            frame, self._frame = self._frame, None
            return frame

    def _read(self) -> None:
        reported, told = time.monotonic(), 0
        for frame in self.sampling(self._frames()):
            with self._changed:
                self.dropped += self._frame is not None
                self._frame = frame
                self._changed.notify_all()
            if time.monotonic() - reported >= REPORT:
                reported = time.monotonic()
                if self.dropped > told:
                    told = self.dropped
                    self._report()

    def _frames(self) -> Iterator[Frame]:
        """Frames until it is closed, with a gap in time wherever the source was away."""
        began = last = time.monotonic()
        number, lost, wait = 0, False, self.first
        while not self._closed:
            try:
                for frame in self._connection():
                    at = time.monotonic()
                    if lost:
                        self.say(f"{self.video.name}: back after {at - last:.0f} s.")
                        lost, wait = False, self.first
                    yield Frame(frame, number, at - began, time.time_ns())
                    last, number = at, number + 1
                why = "the stream ended"
            except Exception as error:  # whatever it is, the source may come back
                why = reason(error)
            if not lost and not self._closed:
                lost = True
                self.say(f"{self.video.name}: no frames ({why}); trying until it is back.")
            with self._changed:
                self._changed.wait_for(lambda: self._closed, wait)
            wait = min(2 * wait, LONGEST)

    def _connection(self) -> Iterator:
        with opened(self.video) as container:
            if not container.streams.video:
                raise OSError(0, "no video stream")
            last = time.monotonic()
            for frame in decoded(container, self._damaged):
                if self._closed:
                    return
                if time.monotonic() - last > opening.PATIENCE:
                    # a frame that comes now came long ago: a time-out frees the last one held back
                    raise OSError(0, opening.SILENT if frame else "nothing can be decoded")
                if frame is not None:
                    last = time.monotonic()
                    yield frame

    def _report(self) -> None:
        if self.dropped:
            frames = counted(self.dropped, "frame")
            self.say(f"{self.video.name}: {frames} dropped so far, because scoring is slower.")
        for what, count in (+self._damaged).items():
            self.say(f"{self.video.name}: {counted(count, f'damaged {what}')} left out so far.")
