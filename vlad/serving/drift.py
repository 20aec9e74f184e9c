"""Drift of the images that a served detector scores."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from vlad.calibration import Calibration
from vlad.calibration.drift import Drift, DriftMonitor, why_not
from vlad.serving.batching import Found


class ServedDrift:
    """Compares the last images scored with the good ones of a detector's calibration.

    Attributes:
        note: why that cannot be told, in a sentence; None if it can, or without a calibration.
    """

    def __init__(self, head: str, calibration: Calibration | None):
        self.head = head
        self.note = why_not(calibration) if calibration else None
        able = calibration is not None and self.note is None
        self._monitor = DriftMonitor(calibration) if calibration and able else None
        self._lock = Lock()

    @property
    def state(self) -> Drift | None:
        """What the last comparison showed; None if drift cannot be told."""
        return self._monitor.state if self._monitor else None

    def add(self, results: Iterable[Found | str]) -> Drift | None:
        """Add the results of a request, in order; takes some 50 ms where a comparison is due.

        Raises:
            InputError: the calibration knows embeddings of another kind.
        """
        if self._monitor is None:
            return None
        with self._lock:
            for found in results:
                if isinstance(found, Found) and found.seen:
                    self._monitor.add({self.head: found.image_score}, found.seen)
            return self._monitor.state
