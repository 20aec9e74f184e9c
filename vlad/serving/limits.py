"""Limits on what the service accepts."""

from __future__ import annotations

from dataclasses import dataclass

from vlad.images.decode import DEFAULT_MAX_PIXELS

MAX_NORMALS = 64  # images to fit one detector on over HTTP
MAX_MADE = 16  # detectors made over HTTP
MAX_CATEGORIES = 256  # that one detector reads about; each is kept
MAX_LABELLED = 10_000  # labelled images in the folder of --review
MAX_LABELLED_BYTES = 10_000_000_000  # of these images
MAX_TABLE = 16_000_000  # bytes of its labels.csv
MAX_NAME = 255  # characters of an image's name in a reply


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of all requests together.

    Attributes:
        batch_size: images in one pass.
        queue: the most images that may wait; also the most requests at a time.
        queue_per_detector: the most images of one detector that may wait, so also per request; None
            is half of the queue, or all of it for the only detector.
        max_bytes: of a request's body.
        max_pixels: of an image, checked before it is decoded.
        timeout: seconds from the first byte of a request to its reply.
    """

    batch_size: int = 8
    queue: int = 256
    queue_per_detector: int | None = None
    max_bytes: int = 64_000_000
    max_pixels: int = DEFAULT_MAX_PIXELS
    timeout: float = 60.0

    def share(self, detectors: int) -> int:
        """How many images of one detector may wait, if so many detectors are served."""
        if self.queue_per_detector is not None:
            return min(self.queue_per_detector, self.queue)
        return self.queue if detectors == 1 else (self.queue + 1) // 2
