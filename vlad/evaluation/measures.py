"""The metrics of a labelled list of images, from scores that arrive batch by batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from vlad.errors import ImageError, InputError
from vlad.evaluation.pixels import ROOM, PixelMetrics
from vlad.images import DEFAULT_MAX_PIXELS, read_mask, resize_mask
from vlad.images.masks import check_fit, lost_regions
from vlad.metrics import SegF1, concordance, evaluate, kendall_tau, registered_metrics
from vlad.scoring.pipeline import Scored
from vlad.system.text import and_more
from vlad.types import Sample

LIMIT = 0.3  # the usual one of AUPRO


@dataclass(frozen=True)
class Measured:
    """The metrics of one head.

    Attributes:
        metrics: name -> value, as `Measures.of` gives them.
        bounds: pixel metric -> how far its value may be off; 0 if it is exact.
        images: number of images scored.
        errors: path -> why an image was left out.
        scores, labels: id of each scored image -> its score, and 0 or 1.
    """

    metrics: Mapping[str, float]
    bounds: Mapping[str, float] = field(default_factory=dict)
    images: int = 0
    errors: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)


class Measures:
    """Takes in scored images as they come; maps go to a file at once (`vlad.evaluation.pixels`).

    Args:
        samples: all images to be scored, with labels.
        max_pixels: larger masks are refused.
        room: bytes of temporary files for maps.
        limit: of AUPRO; with another than 0.3, the metric is named after it ("aupro_0.05").
        thresholds: head -> the map value above which a pixel is anomalous, for its "seg_f1".
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        max_pixels: int = DEFAULT_MAX_PIXELS,
        room: int = ROOM,
        limit: float = LIMIT,
        thresholds: Mapping[str, float] = MappingProxyType({}),
    ):
        self.samples = {sample.id: sample for sample in samples}
        self.max_pixels = max_pixels
        self.limit = limit
        self.fixed = {head: SegF1(threshold) for head, threshold in thresholds.items()}
        self.scores: dict[str, dict[str, float]] = {}  # head -> id -> image_score
        self.errors: dict[str, str] = {}  # id -> why
        self.pixels = PixelMetrics(room) if any(sample.mask for sample in samples) else None
        self.unmarked: dict[str, Sample] = {}  # anomalous, with an empty mask
        self.change_mask: Callable[[np.ndarray, Path], np.ndarray] | None = None
        self.thin: dict[str, int] = {}  # id -> regions of the mask that are too thin for a map

    def add(self, batch: Iterable[Scored]) -> None:
        """Add the scores of some images by some or all heads.

        Raises:
            InputError: an image labelled normal has defect pixels in its mask.
        """
        for scored in batch:
            sample = scored.sample
            if scored.error:
                self.errors[sample.id] = scored.error
            try:
                masks = self._masks(scored)
            except ImageError as error:
                self.errors[sample.id] = str(error)
                continue
            for head, score in scored.scores.items():
                self.scores.setdefault(head, {})[sample.id] = score
                if self.pixels is None:
                    continue
                mask = masks[scored.maps[head].shape]
                if sample.label and not mask.any():
                    if sample.id not in self.thin:
                        self.unmarked[sample.id] = sample
                else:
                    self.pixels.add(head, scored.maps[head], mask)
                    if head in self.fixed:
                        self.fixed[head].update(scored.maps[head][None], mask[None])

    def of(self, head: str) -> Measured:
        """The metrics of a head.

        image_auroc, image_ap, image_f1_max and those of other packages; the first three per object
        (object_auroc, ...) if objects are shown in several views; severity_concordance and
        severity_tau if severities are known; pixel_auroc, pixel_ap, pixel_f1_max, aupro and, with
        a threshold, seg_f1, at the size of the maps, if any defect has a mask. An image labelled
        anomalous with an empty mask is left out of the pixel metrics, because its pixels are not
        known to be normal.

        Raises:
            InputError: no image can be used.
        """
        scores = self.scores.get(head, {})
        errors = {
            str(self.samples[key].path): why
            for key, why in self.errors.items()
            if key not in scores
        }
        if not scores:
            first = next(iter(errors.values()), "there is none")
            raise InputError(
                f"No test image could be used ({first.rstrip('.')}); correct them, or give others."
            )
        truth = {key: int(bool(self.samples[key].label)) for key in scores}
        labels = np.array(list(truth.values()))
        metrics = evaluate(list(scores.values()), labels)
        metrics |= registered_metrics(list(scores.values()), labels)
        metrics |= self._of_objects(scores) | self._of_severities(scores)
        bounds: Mapping[str, float] = {}
        if self.pixels and any(self.samples[key].mask for key in scores):
            found = self.pixels.compute(head, self.limit)
            metrics |= self._named(found.values)
            bounds = self._named(found.bounds)
            if head in self.fixed:
                metrics["seg_f1"] = self.fixed[head].compute()
            self._warn()
        return Measured(metrics, bounds, len(scores), errors, scores, truth)

    def _named(self, values: Mapping[str, float]) -> dict[str, float]:
        """The pixel metrics, with AUPRO named after an unusual limit."""
        aupro = "aupro" if self.limit == LIMIT else f"aupro_{self.limit:g}"
        return {aupro if name == "aupro" else name: value for name, value in values.items()}

    def _of_objects(self, scores: Mapping[str, float]) -> dict[str, float]:
        """The image metrics with each object as one image, if there are objects.

        An object scores as its most anomalous view, and is anomalous if any view is, as in the
        sample-level figures of Real-IAD (Wang et al., CVPR 2024). Views that could not be scored
        still count for its label.
        """
        views = {key: sample.group for key, sample in self.samples.items() if sample.group}
        highest: dict[str, float] = {}
        for key in scores.keys() & views.keys():
            group = views[key]
            highest[group] = max(scores[key], highest.get(group, -np.inf))
        if not highest:
            return {}
        bad = {group for key, group in views.items() if self.samples[key].label}
        found = evaluate(list(highest.values()), [group in bad for group in highest])
        return {name.replace("image", "object"): value for name, value in found.items()}

    def _of_severities(self, scores: Mapping[str, float]) -> dict[str, float]:
        """How well scores follow the severities, if there are any; 0 for normal images."""
        known = {
            key: (sample.severity or 0) if sample.label else 0
            for key in scores
            if (sample := self.samples[key]).severity is not None or not sample.label
        }
        if not any(self.samples[key].severity is not None for key in known):
            return {}
        levels, values = list(known.values()), [scores[key] for key in known]
        return {
            "severity_concordance": concordance(values, levels),
            "severity_tau": kendall_tau(values, levels),
        }

    def _warn(self) -> None:
        """Warn once of what the pixel metrics leave out."""
        if self.unmarked:
            warnings.warn(
                f"{and_more([s.path for s in self.unmarked.values()])}: labelled anomalous, but "
                "the mask is missing or empty; left out of the pixel metrics",
                stacklevel=3,
            )
        if self.thin:
            warnings.warn(
                f"{and_more([self.samples[key].mask for key in self.thin])}: "
                f"{sum(self.thin.values())} regions are too thin for the size of the maps and do "
                "not count in the pixel metrics; raise the image size, or cut the images into "
                "tiles",
                stacklevel=3,
            )
        self.unmarked, self.thin = {}, {}

    def _masks(self, scored: Scored) -> dict[tuple[int, int], np.ndarray]:
        """The mask of an image at each size of its maps; a normal image without one gets zeros."""
        if self.pixels is None:
            return {}
        sample = scored.sample
        sizes = {values.shape for values in scored.maps.values()}
        if sample.mask is None or scored.size is None:
            return {size: np.zeros(size, bool) for size in sizes}
        whole = read_mask(sample.mask, max_pixels=self.max_pixels)
        if not sample.label and whole.any():
            raise InputError(
                f"{sample.path} is labelled normal, but its mask {sample.mask} has defect pixels; "
                "correct the label or the mask."
            )
        check_fit(whole, sample, scored.size, ImageError)
        if self.change_mask:
            whole = self.change_mask(whole, sample.path)
        masks = {size: resize_mask(whole, size) for size in sizes}
        if lost := max((lost_regions(whole, mask) for mask in masks.values()), default=0):
            self.thin[sample.id] = lost
        return masks
