"""Pixel metrics of sets too large for memory, from a histogram that bounds its own error."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from vlad.errors import InputError
from vlad.metrics import curves
from vlad.metrics.batches import (
    METRICS,
    Batches,
    anomalous_pixels,
    by_second_walk,
    check_same,
    pixel_metrics,
    warn_undefined,
)
from vlad.metrics.bins import NONE, binned, brackets, joined, quantile_edges, regrouped
from vlad.metrics.checks import check_limit, missing_class, score_arrays
from vlad.metrics.regions import region_weights

TOLERANCE = 1e-3  # largest error bound at which a histogram value is accepted
# (normal scores, anomalous scores, their region weights) of a batch
Pixels = tuple[np.ndarray, np.ndarray, np.ndarray]
ROUNDING = 1e-9  # added to every bound, for other orders of summation


@dataclass(frozen=True)
class Streamed:
    """Pixel metrics and their error bounds.

    Attributes:
        values: "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", as `vlad.metrics.evaluate`.
        bounds: name -> b; the exact value lies in [value - b, value + b]. 0 if exact.
        engine: how all values were computed.
    """

    values: dict[str, float]
    bounds: dict[str, float]
    engine: Literal["exact", "histogram"]


class Streaming:
    """Pixel AUROC, AP, F1-max and AUPRO, batch by batch, in constant memory.

    The first `buffer` pixels are kept; as long as there are no more, the values are exact. Then
    they go into bins, as does every further full buffer. The edges are quantiles of the pixels so
    far: half of them evenly over all ranks, half over the top tenth, ever finer towards the top.
    They are recomputed whenever the number of pixels has doubled, and when a full buffer puts more
    than twice the intended share into one bin of more than one value, as drifting scores do.

    A bin stores its lowest and highest score and its numbers of normal and anomalous pixels. Each
    score is thus known to be in an interval, which gives an interval for every metric
    (`vlad.metrics.bins.brackets`). The value is its middle and the bound half its length, for any
    scores and any split into batches. Ties cost nothing if a bin has one value.

    Scores in bins are compared as float64. Objects can be pickled and merged, such as one per
    process. Merged values depend slightly on the order of merging, always within the bounds.

    Args:
        buffer: number of pixels to keep.
        bins: number of edges; the bound is roughly proportional to 1 / bins.
    """

    def __init__(self, *, buffer: int = 1 << 21, bins: int = 1 << 14):
        self.buffer = buffer
        self.bins = bins
        self.pending_: list[Pixels] = []
        self.normal_ = self.anomalous_ = NONE
        self.regions_ = 0
        self.edges_: np.ndarray | None = None
        self.pixels_at_edges_ = 0

    def update(self, anomaly_maps: ArrayLike, masks: ArrayLike) -> Streaming:
        """Add whole images, since a region ends with its image.

        Args:
            anomaly_maps, masks: (N, H, W); the mask of a normal image is all zero. Leave out
                images whose defect is not in the mask. H and W may differ between batches.

        Raises:
            InputError: as `vlad.metrics.aupro`, or a buffer below 0 or fewer than 2 bins.
        """
        if self.buffer < 0 or self.bins < 2:
            raise InputError(
                f"Streaming has a buffer of {self.buffer} pixels and {self.bins} bins; "
                "give at least 0 pixels and 2 bins."
            )
        batch, regions = _split(anomaly_maps, masks)
        self.pending_.append(batch)
        self.regions_ += regions
        self._make_room()
        return self

    def merge(self, other: Streaming) -> Streaming:
        """Add all pixels of another object, which stays unchanged."""
        self.pending_ = self.pending_ + other.pending_
        self.regions_ += other.regions_
        if other.edges_ is not None:
            self.normal_ = joined(self.normal_, other.normal_)
            self.anomalous_ = joined(self.anomalous_, other.anomalous_)
            self._put_away(merged=True)
        self._make_room()
        return self

    def compute(self, *, limit: float = 0.3, again: Batches | None = None) -> Streamed:
        """The metrics of all pixels so far.

        Args:
            limit: limit of AUPRO, as in `vlad.metrics.aupro`.
            again: the same batches, to iterate twice (not a generator). If a bound exceeds
                `TOLERANCE`, all metrics are computed exactly from them, with the scores of the
                anomalous pixels and one batch in memory.

        Returns:
            Values and bounds. All NaN with a UserWarning when no pixel is anomalous or none is
            normal. Also a UserWarning when a bound exceeds `TOLERANCE` and `again` is None.

        Raises:
            InputError: an invalid limit, or `again` has other pixels or ends early.
        """
        check_limit(limit)
        if self.edges_ is not None:
            self._put_away()
        positives, negatives = self._seen()
        if missing := missing_class(positives, negatives):
            warn_undefined(missing, stacklevel=3)
            return Streamed(dict.fromkeys(METRICS, np.nan), dict.fromkeys(METRICS, np.nan), "exact")
        if self.edges_ is None:
            normal, anomalous, weights = map(np.concatenate, zip(*self.pending_, strict=True))
            curve = curves.curve(anomalous.copy(), normal)
            return _exact(pixel_metrics(curve, anomalous, weights / self.regions_, limit))

        found = brackets(self.anomalous_, self.normal_, self.regions_, limit)
        values = {name: (low + high) / 2 for name, (low, high) in found.items()}
        bounds = {name: (high - low) / 2 + ROUNDING for name, (low, high) in found.items()}
        worst = max(bounds, key=bounds.__getitem__)
        if bounds[worst] > TOLERANCE:
            if again is not None:
                anomalous, weights, regions, _ = anomalous_pixels(again)
                check_same("anomalous", anomalous.size, positives)
                weights /= regions
                return _exact(by_second_walk(again, anomalous, weights, negatives, limit))
            warnings.warn(
                f"the bound of {worst} is {bounds[worst]:.2g}, above {TOLERANCE:g}; pass the same "
                "batches as `again` for exact values, or use more bins",
                UserWarning,
                stacklevel=2,
            )
        return Streamed(values, bounds, "histogram")

    def _seen(self) -> tuple[int, int]:
        """The numbers of anomalous and normal pixels so far."""
        return (
            int(self.anomalous_.counts.sum()) + sum(len(scores) for _, scores, _ in self.pending_),
            int(self.normal_.counts.sum()) + sum(len(scores) for scores, _, _ in self.pending_),
        )

    def _make_room(self) -> None:
        if sum(len(normal) + len(scores) for normal, scores, _ in self.pending_) > self.buffer:
            self._put_away()

    def _put_away(self, merged: bool = False) -> None:
        """Move the kept pixels into bins, with new edges if the old ones do not fit."""
        if not self.pending_ and not merged:
            return
        pixels = sum(self._seen())
        empty = (np.empty(0, np.float32),) * 3  # the narrowest type, so no scores are widened
        columns = zip(empty, *self.pending_, strict=True)
        normal, anomalous, weights = (np.concatenate(column) for column in columns)
        edges, new = self.edges_, None
        if not merged and edges is not None and pixels < 2 * self.pixels_at_edges_:
            new = binned(normal, edges), binned(anomalous, edges, weights)
            crowded = max(bins.counts[bins.high > bins.low].max(initial=0) for bins in new)
            if crowded > 4 / self.bins * pixels:
                new = None
        if edges is None or new is None:
            self.edges_ = edges = self._new_edges(normal, anomalous)
            self.pixels_at_edges_ = pixels
            new = binned(normal, edges), binned(anomalous, edges, weights)
        self.normal_ = regrouped(joined(self.normal_, new[0]), edges)
        self.anomalous_ = regrouped(joined(self.anomalous_, new[1]), edges)
        self.pending_ = []

    def _new_edges(self, normal: np.ndarray, anomalous: np.ndarray) -> np.ndarray:
        """Edges for all pixels in bins and these; a bin counts as its highest score."""
        scores = (normal, anomalous, self.normal_.high, self.anomalous_.high)
        ones = np.ones(normal.size + anomalous.size, np.int64)
        counts = np.concatenate([ones, self.normal_.counts, self.anomalous_.counts])
        return quantile_edges(np.concatenate(scores), counts, self.bins)


def _split(anomaly_maps: ArrayLike, masks: ArrayLike) -> tuple[Pixels, int]:
    """The pixels of a batch, and the number of its regions."""
    maps, anomalous = score_arrays(anomaly_maps, masks, images=True)
    weights, regions = region_weights(anomalous)
    return (maps[~anomalous], maps[anomalous], weights), regions


def _exact(values: dict[str, float]) -> Streamed:
    return Streamed(values, dict.fromkeys(METRICS, 0.0), "exact")
