"""Reference scores and the verdicts derived from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from vlad.calibration.conformal import ceiled, conformal_threshold, p_values
from vlad.calibration.drift.looks import Looks
from vlad.calibration.fusion import fuse
from vlad.calibration.severity import EDGES, severities
from vlad.errors import InputError
from vlad.system.numbers import check_share
from vlad.system.text import shown
from vlad.types import Verdicts

# an image that sets the threshold is odd if it lies so many times as far as the next one from the
# median
FAR = 2.0
FUSED = "fused"  # name of the combination of all heads

Scores = Mapping[str, np.ndarray]  # head -> (N,) scores of the same images


@dataclass(frozen=True)
class Calibration:
    """Reference scores and thresholds; names are those of heads, and "fused".

    Attributes:
        source: the origin of the reference scores.
        reference: head -> (n,) reference image scores; empty for a fixed threshold.
        thresholds: name -> image score above which an image is anomalous.
        rates: name -> share of normal images (of all if unlabelled) above the threshold.
        map_thresholds: head -> map value above which a pixel belongs to a region.
        edges: name -> lower ends of the levels (see `vlad.calibration.severity`).
        method: how heads are fused, or None.
        confidence: abstain from decisions less certain than this, in (0.5, 1); None never abstains.
        share: share of anomalous images among unlabelled ones: "mean", "low", "high" (90 %
            interval).
        settings: settings that the scores depend on, as in run.json.
        names: names of the reference images, in order; empty if unknown.
        notes: sentences about what it rests on.
        defects: head -> (m,) image scores of labelled defects; empty without labels.
        holdout: head -> (k,) image scores of good images of another day, which move no threshold;
            empty without any.
        drift: how the good images of `reference` look, to notice drift; None if unknown.
    """

    source: Literal["normals", "labels", "unlabelled", "number"]
    reference: Scores
    thresholds: Mapping[str, float]
    rates: Mapping[str, float]
    map_thresholds: Mapping[str, float] = field(default_factory=dict)
    edges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    method: str | None = None
    confidence: float | None = None
    share: Mapping[str, float] | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    names: Sequence[str] = ()
    notes: Sequence[str] = ()
    defects: Scores = field(default_factory=dict)
    holdout: Scores = field(default_factory=dict)
    drift: Looks | None = None

    def __post_init__(self) -> None:
        if self.confidence is not None:
            # below 0.5 the opposite decision would be more certain
            check_share("confidence", self.confidence, 0.5, 1)

    @classmethod
    def fixed(cls, head: str, threshold: float) -> Calibration:
        """A threshold chosen by the user, without p-values."""
        return cls("number", {head: np.empty(0)}, {head: threshold}, {})

    @property
    def tells(self) -> bool:
        """Whether the share of anomalous images could be told from their scores.

        Without any doubt of a share of 0 no group stands apart, as where most are anomalous.
        """
        return self.share is None or self.share["high"] >= 0.005

    def decide(self, scores: Scores, *, own: bool = False) -> dict[str, Verdicts]:
        """Verdicts on B images by each head and, if fused, by all together.

        Args:
            scores: head -> (B,).
            own: the images are the reference images themselves, in the same order.

        Raises:
            InputError: a head of the calibration has no scores.
        """
        if missing := [head for head in self.reference if head not in scores]:
            raise InputError(
                f"the calibration has head {missing[0]}, but there are no scores of it; score with "
                "it too, or calibrate again."
            )
        scores = {head: np.asarray(scores[head], float) for head in self.reference}
        reference = self.known()
        if self.method:
            scores[FUSED] = fuse(as_matrix(scores), as_matrix(self.reference), self.method, own=own)
        return {
            name: self._verdicts(name, values, reference[name]) for name, values in scores.items()
        }

    def basis(self, name: str) -> str:
        """Which held-out image sets the threshold, and what it would be without that image.

        Empty where no single image sets it.
        """
        if self.source != "normals":
            return ""
        known, threshold, rate = self.known()[name], self.thresholds[name], self.rates[name]
        place = np.argsort(-known, kind="stable")[(known > threshold).sum()]
        image = shown(Path(self.names[place]).name) if self.names else f"held-out image {place}"
        said = f"The threshold is the score of {image}"
        others = np.delete(known, place)
        if len(others):
            reached = max(rate, 1 / (len(others) + 1))
            without = conformal_threshold(others, reached)
            said += f"; without it, it would be {without:.6g}"
            said += f" and the rate {ceiled(reached):g}" if reached > rate else ""
            middle = np.median(known)
            if threshold > without and threshold - middle >= FAR * (without - middle):
                said += f". {image} is far from the others: remove it if it is no good image, or "
                said += "leave it out with --suspects 1"
        return f"{said}."

    def known(self) -> dict[str, np.ndarray]:
        """The reference scores of each name."""
        reference = {head: np.asarray(x, float) for head, x in self.reference.items()}
        if self.method:
            known = as_matrix(reference)
            reference[FUSED] = fuse(known, known, self.method, own=True)
        return reference

    def _verdicts(self, name: str, scores: np.ndarray, reference: np.ndarray) -> Verdicts:
        threshold = self.thresholds[name]
        anomalous = scores > threshold
        if not len(reference):
            none = np.full(len(scores), np.nan)
            return Verdicts(
                scores, none, anomalous, np.zeros_like(anomalous), anomalous.astype(int)
            )
        abstain = np.full(len(scores), not self.tells)
        if self.confidence is not None:
            from vlad.calibration.rejection import decision_confidence

            probability, _ = decision_confidence(scores, reference, self.rates[name])
            # a threshold from labels may be above that of the rate alone
            abstain |= np.where(anomalous, probability, 1 - probability) < self.confidence
        return Verdicts(
            image_score=scores,
            p_value=p_values(scores, reference),
            anomalous=anomalous,
            abstain=abstain,
            severity=severities(scores, reference, threshold, self.edges.get(name, EDGES)),
        )


def as_matrix(scores: Scores) -> np.ndarray:
    """(N, H) of H heads."""
    return np.stack([np.asarray(x, float) for x in scores.values()], axis=1)
