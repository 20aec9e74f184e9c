"""Metrics of the service, in Prometheus text format."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_OUTCOMES = ("normal", "anomalous", "scored", "failed")


class Metrics:
    """Metrics of one service."""

    def __init__(self, waiting: Callable[[], int]):
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "vlad_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "vlad_request_seconds",
            "Time from the first byte of a request to its reply.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.images = Counter(
            "vlad_images",
            "Images by outcome; scored means without a verdict.",
            ["detector", "outcome"],
            registry=registry,
        )
        self.batches = Histogram(
            "vlad_batch_images",
            "Images in one pass of the backbone.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        queue = Gauge("vlad_queue_images", "Images waiting to be scored.", registry=registry)
        queue.set_function(waiting)

    def forget(self, detector: str) -> None:
        """Drop the counts of a deleted detector."""
        for outcome in _OUTCOMES:
            with suppress(KeyError):
                self.images.remove(detector, outcome)

    def text(self) -> bytes:
        """All metrics, as a scrape expects them."""
        return generate_latest(self.registry)
