"""Images of many requests, scored together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from threading import Condition, Thread
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vlad.errors import ImageError
from vlad.scoring.pipeline import READERS

if TYPE_CHECKING:
    from vlad.detector import Detector
    from vlad.scoring.pipeline import Prepared


class Busy(Exception):
    """There is no room for more images now."""


@dataclass(frozen=True)
class Found:
    """A detector's result for one image.

    Attributes:
        size: its (width, height), upright.
        image_score: higher is more anomalous.
        anomaly_map: (H, W).
        kind: nearest known kind of defect, as in `ScoredImage`.
    """

    size: tuple[int, int]
    image_score: float
    anomaly_map: np.ndarray
    kind: str | None = None


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
    that is cut into tiles has its own. A result does not depend on the other images in the pass,
    except for rounding.

    Args:
        batch_size: the most images in one pass.
        queue: the most images that may wait.
        on_batch: called with the number of images in each pass.
    """

    def __init__(
        self, batch_size: int, queue: int, on_batch: Callable[[int], object] = lambda count: None
    ):
        self.batch_size = batch_size
        self.queue = queue
        self.on_batch = on_batch
        self._waiting: deque[_Job] = deque()
        self._changed = Condition()
        self._closed = False
        self._readers = ThreadPoolExecutor(READERS, "vlad-read")
        self._backbone = Thread(target=self._work, name="vlad-score", daemon=True)
        self._backbone.start()

    def __len__(self) -> int:
        """The number of waiting images."""
        return len(self._waiting)

    def submit(
        self,
        detector: Detector,
        category: str | None,
        images: Sequence[Callable[[], Image.Image]],
    ) -> list[Future[Found]]:
        """Queue images, all or none; cancelling a future takes its image out again.

        Args:
            images: functions that open them, called in another thread; they raise ImageError.

        Raises:
            Busy: the queue has no room for them, or is closed.
        """
        jobs = [_Job(detector, category, read) for read in images]
        with self._changed:
            if self._closed or len(self._waiting) + len(jobs) > self.queue:
                raise Busy
            self._waiting.extend(jobs)
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
            return batch

    def _next(self) -> list[_Job]:
        """The longest-waiting job that is read, and others that can share its pass."""
        read = (job for job in self._waiting if job.image)
        first = next(read, None)
        if first is None:
            return []
        # an image cut into tiles fills passes by itself, and can be cancelled by itself
        most = self.batch_size if first.detector.tile is None else 1
        return [first, *islice(filter(first.shares, read), most - 1)]

    def _leave(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            self._waiting.remove(job)
        self._begin()
        self._changed.notify_all()

    def _begin(self) -> None:
        """Have enough images read that a full batch can follow each batch."""
        room = 2 * self.batch_size
        for job in self._waiting:
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
                job.end(Found(size, score, values, found.kind))
            else:  # the image was read, so its score is not finite
                head = job.detector.head_.name
                job.end(ImageError(f"{head} gave no finite score; check the detector."))
