"""What the routes of the service share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi import Request, UploadFile
from starlette.exceptions import HTTPException

from vlad.serving.batching import Batcher
from vlad.serving.detectors import Served, Store
from vlad.serving.limits import Limits
from vlad.serving.metrics import Metrics
from vlad.serving.recorder import record_of
from vlad.serving.review import Labels
from vlad.serving.routes.uploads import check_count


@dataclass(frozen=True)
class Service:
    """The detectors, the limits, the queue and the metrics of one service.

    Attributes:
        labels: what people say about images; None keeps nothing.
        fitting: held while a detector is fitted over HTTP.
        explaining: held while images are explained.
    """

    store: Store
    limits: Limits
    batcher: Batcher
    metrics: Metrics
    labels: Labels | None = None
    fitting: asyncio.Lock = field(default_factory=asyncio.Lock)
    explaining: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def most(self) -> int:
        """Most images that one request may send."""
        return self.limits.share(len(self.store))

    def find(self, name: str | None) -> Served:
        """The detector with this name, or the first; raises an HTTPException 404 if unknown."""
        served = self.store.find(name)
        if served is None:
            raise HTTPException(404, f"There is no detector {name}; see GET /v1/detectors.")
        return served

    def asked(self, request: Request, images: Sequence[UploadFile], name: str | None) -> Served:
        """The detector that a request asks about its images; recorded, and checked as `find` and
        `check_count` do."""
        served = self.find(name)
        check_count(images, self.most)
        record = record_of(request)
        record.detector, record.images = served.name, len(images)
        return served
