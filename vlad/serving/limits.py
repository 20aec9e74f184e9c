"""How much the service takes on."""

from __future__ import annotations

from dataclasses import dataclass

from vlad.images.decode import DEFAULT_MAX_PIXELS

MAX_NORMALS = 64  # images that one detector is fitted on over HTTP
MAX_MADE = 16  # detectors made over HTTP
MAX_CATEGORIES = 256  # words that a detector reads about; each is kept
MAX_NAME = 255  # characters of an image's name that are said back


@dataclass(frozen=True)
class Limits:
    """Bounds of a request, and of all of them together.

    Attributes:
        batch_size: images in one pass.
        queue: images that may wait, and so the most in one request; also requests at a time.
        max_bytes: of the body of a request.
        max_pixels: of an image, before it is decoded.
        timeout: seconds from the first byte of a request to its reply.
    """

    batch_size: int = 8
    queue: int = 256
    max_bytes: int = 64_000_000
    max_pixels: int = DEFAULT_MAX_PIXELS
    timeout: float = 60.0
