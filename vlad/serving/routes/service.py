"""What the routes of the service share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from vlad.serving.batching import Batcher
from vlad.serving.detectors import Store
from vlad.serving.limits import Limits
from vlad.serving.metrics import Metrics
from vlad.serving.review import Labels


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
