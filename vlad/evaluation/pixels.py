"""Pixel metrics of several heads whose maps come one by one, in bounded memory.

The maps wait in one temporary file; while it has room for all of them, the metrics are exact. Once
it is full, the maps go into histograms (`vlad.metrics.Streaming`), with a bound on their error.
"""

from __future__ import annotations

import io
import tempfile
import warnings
import weakref
from collections.abc import Iterator

import numpy as np

from vlad.metrics import Streamed, Streaming, evaluate_batches
from vlad.metrics.batches import METRICS

ROOM = 4 << 30  # bytes of the temporary file


class PixelMetrics:
    """Takes maps and masks of any size, head by head and image by image.

    Args:
        room: bytes of the temporary file, for all heads; it is deleted with the object.
    """

    def __init__(self, room: int = ROOM):
        self.room = room
        self.file: io.FileIO | None = None
        self.size = 0
        self.places: dict[str, list[tuple[int, tuple[int, int]]]] = {}
        self.streams: dict[str, Streaming] | None = None

    def add(self, head: str, anomaly_map: np.ndarray, mask: np.ndarray) -> None:
        """Add a head's map of an image.

        Args:
            anomaly_map: (H, W), kept as float32.
            mask: (H, W) bool.
        """
        if self.streams is None and not self._keep(head, anomaly_map, mask):
            self._stream()
        if self.streams is not None:
            stream = self.streams.setdefault(head, Streaming())
            stream.update(anomaly_map[None], mask[None])

    def compute(self, head: str, limit: float = 0.3) -> Streamed:
        """The pixel metrics of a head and their bounds, 0 while all maps are in the file.

        `limit` is that of AUPRO. NaN with a UserWarning when no pixel is anomalous or none is
        normal.
        """
        if self.streams is None:
            values = evaluate_batches(_Kept(self, head), limit=limit)
            return Streamed(values, dict.fromkeys(METRICS, 0.0), "exact")
        with warnings.catch_warnings():
            # the bounds are shown next to the values
            warnings.filterwarnings("ignore", "the bound of")
            return self.streams.setdefault(head, Streaming()).compute(limit=limit)

    def _keep(self, head: str, anomaly_map: np.ndarray, mask: np.ndarray) -> bool:
        """Write to the file; return whether it had room."""
        data = np.asarray(anomaly_map, np.float32).tobytes() + np.packbits(mask).tobytes()
        if self.size + len(data) > self.room:
            return False
        try:
            if self.file is None:
                # without a buffer, whose last bytes a full disk would lose
                self.file = tempfile.TemporaryFile(prefix="vlad-", buffering=0)  # noqa: SIM115
                weakref.finalize(self, self.file.close)
            self.file.seek(self.size)
            if self.file.write(data) < len(data):
                return False
        except OSError:
            return False
        self.places.setdefault(head, []).append((self.size, mask.shape))
        self.size += len(data)
        return True

    def _stream(self) -> None:
        """Move the maps from the file into histograms."""
        self.streams = {head: Streaming() for head in self.places}
        for head, stream in self.streams.items():
            for batch in _Kept(self, head):
                stream.update(*batch)
        self.places.clear()
        if self.file is not None:
            self.file.close()

    def read(self, place: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The (H, W) map and mask at a place of the file."""
        pixels = shape[0] * shape[1]
        assert self.file is not None
        self.file.seek(place)
        data = self.file.read(4 * pixels + (pixels + 7) // 8)
        bits = np.frombuffer(data, np.uint8, offset=4 * pixels)
        mask = np.unpackbits(bits, count=pixels).astype(bool)
        return np.frombuffer(data, np.float32, pixels).reshape(shape), mask.reshape(shape)


class _Kept:
    """The maps of a head in the file, which can be read any number of times."""

    def __init__(self, pixels: PixelMetrics, head: str):
        self.pixels = pixels
        self.head = head

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for place, shape in self.pixels.places.get(self.head, ()):
            anomaly_map, mask = self.pixels.read(place, shape)
            yield anomaly_map[None], mask[None]
