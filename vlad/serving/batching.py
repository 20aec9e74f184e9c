"""Images of many requests, scored together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, islice, zip_longest
from threading import Condition, Thread
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vlad.errors import ImageError
from vlad.scoring.ahead import READERS
from vlad.types import Seen

if TYPE_CHECKING:
    from vlad.detector import Detector
    from vlad.scoring.pipeline import Prepared


class Busy(Exception):
    """There is no room for more images now.

    Attributes:
        own: whether there would be for another detector.
    """

    def __init__(self, own: bool):
        super().__init__(own)
        self.own = own


@dataclass(frozen=True)
class Found:
    """A detector's result for one image.

    Attributes:
        size: its (width, height), upright.
        image_score: higher is more anomalous.
        anomaly_map: (H, W).
        kind: nearest known kind of defect, as in `ScoredImage`.
        seen: how it looks as a whole.
    """

    size: tuple[int, int]
    image_score: float
    anomaly_map: np.ndarray
    kind: str | None = None
    seen: Seen | None = None


@dataclass(eq=False)
class _Job:
    detector: Detector
    category: str | None
    read: Callable[[], Image.Image]
    done: Future[Found] = field(default_factory=Future)
    begun: bool = False  # whether a reader has taken it
    image: Prepared | None = None  # set once it is read

    def shares(self, other: _Job) -> bool:
        """Whether both can share a pass of the backbone."""
        return self.detector is other.detector and self.category == other.category

    def wanted(self) -> Prepared:
        """The image; if it is cut into tiles, they stop once nobody waits for the result."""
        image = self.image
        assert image is not None  # `Batcher` scores only what is read
        whole = self.detector.tile is None
        return image if whole else replace(image, tiles=self._tiles(image.tiles))

    def _tiles(self, tiles: Iterable[dict]) -> Iterator[dict]:
        for tile in tiles:
            if self.done.cancelled():
                raise CancelledError
            yield tile

    def end(self, found: Found | Exception) -> None:
        """Hand the result to the caller, if it still waits."""
        if self.done.set_running_or_notify_cancel():
            if isinstance(found, Exception):
                self.done.set_exception(found)
            else:
                self.done.set_result(found)


class Batcher:
    """One queue of images, the threads that read them, and the thread that scores them.

    Whenever the backbone is free, it takes the images read so far, so that nobody waits for others
    to arrive. Images for one detector and category share a pass, in order of arrival; an image
    that is cut into tiles has its own. Detectors take turns, in passes and in reading, so that one
    with many images does not hold up another. A result does not depend on the other images in the
    pass, except for rounding.

    Args:
        batch_size: the most images in one pass.
        queue: the most images that may wait.
        on_batch: called with the number of images in each pass.
        threads: how many read images.
    """

    def __init__(
        self,
        batch_size: int,
        queue: int,
        on_batch: Callable[[int], object] = lambda count: None,
        threads: int = READERS,
    ):
        self.batch_size = batch_size
        self.queue = queue
        self.on_batch = on_batch
        self._waiting: dict[Detector, deque[_Job]] = {}  # the one whose turn is next comes first
        self._changed = Condition()
        self._closed = False
        self._readers = ThreadPoolExecutor(threads, "vlad-read")
        self._backbone = Thread(target=self._work, name="vlad-score", daemon=True)
        self._backbone.start()

    def __len__(self) -> int:
        """The number of waiting images."""
        with self._changed:
            return sum(map(len, self._waiting.values()))

    def submit(
        self,
        detector: Detector,
        category: str | None,
        images: Sequence[Callable[[], Image.Image]],
        most: int | None = None,
    ) -> list[Future[Found]]:
        """Queue images, all or none; cancelling a future takes its image out again.

        Args:
            images: functions that open them, called in another thread; they raise ImageError.
            most: how many images of this detector may wait; None sets no limit but the queue's.

        Raises:
            Busy: the queue has no room for them, or is closed.
        """
        jobs = [_Job(detector, category, read) for read in images]
        with self._changed:
            if self._closed or len(self) + len(jobs) > self.queue:
                raise Busy(own=False)
            own = len(self._waiting.get(detector, ()))
            if most is not None and own + len(jobs) > most:
                raise Busy(own=True)
            self._waiting.setdefault(detector, deque()).extend(jobs)
            self._begin()
        return [job.done for job in jobs]

    def close(self) -> None:
        """Score the waiting images, then end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._backbone.join()
        self._readers.shutdown()

    def _work(self) -> None:
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        """Score the next batch, and keep nothing of it while waiting for another."""
        taken = self._take()
        if ready := [job for job in taken if not job.done.cancelled()]:
            self._score(ready)
        return bool(taken)

    def _take(self) -> list[_Job]:
        """The next batch; empty once the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._next() or (self._closed and not self._waiting))
            batch = self._next()
            self._leave(batch)
            if batch and (others := self._waiting.pop(batch[0].detector, None)):
                self._waiting[batch[0].detector] = others  # behind those that wait for their turn
            return batch

    def _next(self) -> list[_Job]:
        """The longest-waiting job that is read, of the detector whose turn it is, and others that
        can share its pass."""
        read = (job for job in chain.from_iterable(self._waiting.values()) if job.image)
        first = next(read, None)
        if first is None:
            return []
        # an image cut into tiles fills passes by itself, and can be cancelled by itself
        most = self.batch_size if first.detector.tile is None else 1
        return [first, *islice(filter(first.shares, read), most - 1)]

    def _leave(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            jobs_left = self._waiting[job.detector]
            jobs_left.remove(job)
            if not jobs_left:
                del self._waiting[job.detector]
        self._begin()
        self._changed.notify_all()

    def _begin(self) -> None:
        """Have enough images read that a full batch can follow each batch."""
        room = 2 * self.batch_size
        in_turn = chain.from_iterable(zip_longest(*self._waiting.values()))
        for job in filter(None, in_turn):
            # an image to be cut into tiles waits at full size, so two of them take all the room
            room -= 1 if job.detector.tile is None else self.batch_size
            if room < 0:
                break
            if not job.begun:
                job.begun = True
                self._readers.submit(self._read, job)

    def _read(self, job: _Job) -> None:
        try:
            image = None if job.done.cancelled() else job.detector.prepare(job.read())
        except Exception as error:  # passed on to the caller
            image = None
            job.end(error)
        with self._changed:
            if image is None:
                self._leave([job])
            else:
                job.image = image
                self._changed.notify_all()

    def _score(self, ready: Sequence[_Job]) -> None:
        first = ready[0]
        self.on_batch(len(ready))
        try:
            wanted = [job.wanted() for job in ready]
            scored = list(first.detector.stream(wanted, category=first.category))
        except Exception as error:  # whatever it is, the callers must learn of it
            for job in ready:
                job.end(error)
            return
        for job, found in zip(ready, scored, strict=True):
            size, score, values = found.size, found.image_score, found.anomaly_map
            if size is not None and score is not None and values is not None:
                job.end(Found(size, score, values, found.kind, found.seen))
            else:  # the image was read, so it has no score; its name here is not the caller's
                assert found.error is not None
                why = found.error.removeprefix(f"image {found.index}: ").rpartition("; ")[0]
                job.end(ImageError(f"{why}; score it again, or check the detector."))
