"""Scores -> the reply to a request."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlad.calibration import Calibration
from vlad.images.resize import fit_within, resize_map
from vlad.results.folder import MAP_SIDE
from vlad.results.maps import save_png
from vlad.results.regions import find_regions
from vlad.serving import schemas
from vlad.serving.batching import Found
from vlad.serving.detectors import Served


@dataclass(frozen=True)
class Question:
    """What a request asks about its images.

    Attributes:
        threshold, map_threshold: replace those of the calibration; None keeps them.
        map_kind: format of the maps in the reply; None leaves them out.
    """

    served: Served
    category: str | None
    threshold: float | None = None
    map_threshold: float | None = None
    map_kind: schemas.MapKind | None = None

    def answer(self, names: Sequence[str], results: Sequence[Found | str]) -> schemas.Scored:
        """The reply.

        Args:
            results: for each image, or a sentence that says why there is none.
        """
        head = self.served.detector.head_.name
        calibration = self.served.calibration(self.category)
        decided = calibration
        threshold, map_threshold = self.threshold, self.map_threshold
        if threshold is not None:
            decided = Calibration.fixed(head, threshold)
        elif calibration:
            threshold = calibration.thresholds[head]
        if map_threshold is None and calibration:
            map_threshold = calibration.map_thresholds.get(head)
        good = [found for found in results if isinstance(found, Found)]
        scores = {head: np.array([found.image_score for found in good])}
        said: list[dict[str, Any]] = [{} for _ in good]
        if decided and good:
            verdicts = vars(decided.decide(scores)[head])
            if calibration is not decided:
                verdicts["p_value"] = _p_values(calibration, scores)
            keys = ("p_value", "anomalous", "abstain", "severity")
            said = [
                dict(zip(keys, values, strict=True))
                for values in zip(*(verdicts[key].tolist() for key in keys), strict=True)
            ]
        verdict = iter(said)
        return schemas.Scored(
            detector=self.served.name,
            head=head,
            category=self.category,
            threshold=threshold,
            map_threshold=map_threshold,
            images=[
                self._image(name, found, map_threshold, next(verdict))
                if isinstance(found, Found)
                else schemas.ImageReply(name=name, error=found)
                for name, found in zip(names, results, strict=True)
            ],
        )

    def _image(
        self, name: str, found: Found, map_threshold: float | None, said: dict[str, Any]
    ) -> schemas.ImageReply:
        verdict: schemas.Verdict | None = None
        if said:
            verdict = "anomalous" if said.pop("anomalous") else "normal"
            said["p_value"] = None if math.isnan(said["p_value"]) else said["p_value"]
        regions = None
        if map_threshold is not None:
            regions = [
                schemas.Region(**vars(region))
                for region in find_regions(found.anomaly_map, map_threshold, found.size)
            ]
        return schemas.ImageReply(
            name=name,
            width=found.size[0],
            height=found.size[1],
            image_score=found.image_score,
            verdict=verdict,
            kind=found.kind,
            regions=regions,
            map=self._map(found, self.map_kind) if self.map_kind else None,
            **said,
        )

    def _map(self, found: Found, kind: schemas.MapKind) -> schemas.AnomalyMap:
        """As `vlad score` stores it, or as the head gives it; at most 1024 pixels a side."""
        low, high = self.served.detector.head_.map_range
        if kind == "png":
            size = fit_within(found.size, MAP_SIDE)
            file = io.BytesIO()
            save_png(file, found.anomaly_map, size, (low, high))
            data = file.getvalue()
        else:
            size = fit_within(found.anomaly_map.shape[::-1], MAP_SIDE)
            data = resize_map(found.anomaly_map, size).astype("<f4").tobytes()
        return schemas.AnomalyMap(
            kind=kind,
            width=size[0],
            height=size[1],
            data=base64.b64encode(data).decode(),
            low=low,
            high=high,
        )


def _p_values(calibration: Calibration | None, scores: dict[str, np.ndarray]) -> np.ndarray:
    """P-values from the calibration; they do not depend on the threshold."""
    ((head, values),) = scores.items()
    if calibration is None:
        return np.full(len(values), np.nan)
    return calibration.decide(scores)[head].p_value
