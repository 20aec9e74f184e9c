"""Metrics of the service, in Prometheus text format."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from vlad.calibration.drift import Drift

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

        self.drift = Gauge(
            "vlad_drift",
            "1 if images differ in this part from the good ones of calibration, else 0.",
            ["detector", "part"],
            registry=registry,
        )
        self.drift_p_value = Gauge(
            "vlad_drift_p_value",
            "How often good images like those of calibration differ as much in this part.",
            ["detector", "part"],
            registry=registry,
        )
        self._parts: dict[str, list[str]] = {}

    def show_drift(self, detector: str, drift: Drift) -> None:
        """Set what the last comparison of a detector showed; there is none before the first."""
        self._parts[detector] = [part.name for part in drift.parts]
        for part in drift.parts:
            self.drift.labels(detector, part.name).set(part.moved)
            self.drift_p_value.labels(detector, part.name).set(part.p_value)

    def forget(self, detector: str) -> None:
        """Drop the counts and the drift of a deleted detector."""
        self.forget_drift(detector)
        for outcome in _OUTCOMES:
            with suppress(KeyError):
                self.images.remove(detector, outcome)

    def forget_drift(self, detector: str) -> None:
        """Drop the drift of a detector that was reloaded: its calibration may be another."""
        for part in self._parts.pop(detector, []):
            self.drift.remove(detector, part)
            self.drift_p_value.remove(detector, part)

    def text(self) -> bytes:
        """All metrics, as a scrape expects them."""
        return generate_latest(self.registry)
