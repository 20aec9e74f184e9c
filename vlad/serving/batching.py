"""Pictures of many requests, scored together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vlad.errors import ImageError
from vlad.scoring import READERS

if TYPE_CHECKING:
    from vlad.detector import Detector, Prepared

WAIT = 0.003  # seconds that the first picture of a batch waits for others
_WORKERS = 2  # one decodes while the other one's pictures are in the tower


class Busy(Exception):
    """There is no room for more pictures now."""


@dataclass(frozen=True)
class Found:
    """What a detector says of one picture.

    Attributes:
        size: its (width, height), upright.
        image_score: higher is more anomalous.
        anomaly_map: (H, W).
    """

    size: tuple[int, int]
    image_score: float
    anomaly_map: np.ndarray


@dataclass(frozen=True, eq=False)
class _Job:
    detector: Detector
    category: str | None
    read: Callable[[], Image.Image]
    done: Future[Found] = field(default_factory=Future)


class Batcher:
    """One queue of pictures, and the threads that empty it.

    Pictures for one detector and category are scored in one pass, in the order of their arrival.
    What is said of a picture does not depend on those beside it, but for rounding.

    Args:
        batch_size: the most pictures in one pass.
        queue: the most that may wait.
        on_batch: called with the number of pictures of each pass.
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
        self._taking, self._tower = Lock(), Lock()
        self._readers = ThreadPoolExecutor(READERS, "vlad-read")
        self._workers = [
            Thread(target=self._work, name="vlad-score", daemon=True) for _ in range(_WORKERS)
        ]
        for worker in self._workers:
            worker.start()

    def __len__(self) -> int:
        """How many pictures wait."""
        return len(self._waiting)

    def submit(
        self,
        detector: Detector,
        category: str | None,
        pictures: Sequence[Callable[[], Image.Image]],
    ) -> list[Future[Found]]:
        """Puts pictures into the queue, all or none; a future that is cancelled leaves it.

        Args:
            pictures: functions that open them, called in another thread; they raise ImageError.

        Raises:
            Busy: the queue has no room for them, or is closed.
        """
        jobs = [_Job(detector, category, read) for read in pictures]
        with self._changed:
            if self._closed or len(self._waiting) + len(jobs) > self.queue:
                raise Busy
            self._waiting.extend(jobs)
            self._changed.notify_all()
        return [job.done for job in jobs]

    def close(self) -> None:
        """Scores what waits, and ends the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()
        self._readers.shutdown()

    def _work(self) -> None:
        while taken := self._take():
            jobs = [job for job in taken if job.done.set_running_or_notify_cancel()]
            ready = []
            for job, picture in zip(jobs, self._readers.map(_prepare, jobs), strict=True):
                if isinstance(picture, Exception):
                    job.done.set_exception(picture)
                else:
                    ready.append((job, picture))
            if ready:
                with self._tower:
                    self._score(ready)

    def _take(self) -> list[_Job]:
        """The next batch; none once the queue is closed and empty."""
        with self._taking, self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            self._changed.wait_for(lambda: self._closed or self._full(), WAIT)
            batch = self._next()
            for job in batch:
                self._waiting.remove(job)
            return batch

    def _full(self) -> bool:
        return len(self._next()) == self.batch_size

    def _next(self) -> list[_Job]:
        """The job that has waited longest, and those that can share its pass."""
        first = self._waiting[0]
        alike = (
            job
            for job in self._waiting
            if job.detector is first.detector and job.category == first.category
        )
        return list(islice(alike, self.batch_size))

    def _score(self, ready: Sequence[tuple[_Job, Prepared]]) -> None:
        first = ready[0][0]
        self.on_batch(len(ready))
        try:
            scores = first.detector.score([p for _, p in ready], category=first.category)
        except Exception as error:  # whatever it is, those who wait must hear of it
            for job, _ in ready:
                job.done.set_exception(error)
            return
        for (job, picture), score, found in zip(
            ready, scores.image_score.tolist(), scores.anomaly_map, strict=True
        ):
            if np.isfinite(score) and np.isfinite(found).all():
                job.done.set_result(Found(picture.size, score, found))
            else:
                job.done.set_exception(
                    ImageError(f"{job.detector.head} gave no number; check the detector.")
                )


def _prepare(job: _Job) -> Prepared | Exception:
    try:
        return job.detector.prepare(job.read())
    except Exception as error:  # it goes to the one who waits
        return error
