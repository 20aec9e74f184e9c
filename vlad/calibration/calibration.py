"""Reference scores, and the verdicts that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from vlad.calibration.conformal import ceiled, conformal_threshold, p_values
from vlad.calibration.fusion import fuse
from vlad.calibration.severity import EDGES, severities
from vlad.errors import InputError
from vlad.system.numbers import check_share
from vlad.system.text import shown
from vlad.types import Verdicts

# an image that sets the threshold is odd where it lies so many times as far as the next one from
# the median
FAR = 2.0
FUSED = "fused"  # the name under which the combination of all heads stands beside them

Scores = Mapping[str, np.ndarray]  # head -> (N,) scores of the same images


@dataclass(frozen=True)
class Calibration:
    """Reference scores and what follows from them; names are those of heads, and "fused".

    Attributes:
        source: where the reference images come from.
        reference: head -> (n,) their image scores; none where the threshold is a given number.
        thresholds: name -> the image score above which an image is called anomalous.
        rates: name -> the share of normal images, or of all where unlabelled, that this means.
        map_thresholds: head -> the value above which a pixel belongs to a region.
        edges: name -> where levels begin (see `vlad.calibration.severity`).
        method: how heads are fused, or None.
        confidence: decisions less certain than this, in (0.5, 1), are withheld; None withholds
            none.
        share: of the anomalous among unlabelled images: "mean", "low", "high" (90 % interval).
        settings: what the scores depend on, as run.json has it.
        names: of the reference images, in their order; none where they are not known.
        notes: sentences about what it rests on.
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

    def __post_init__(self) -> None:
        if self.confidence is not None:
            # a decision less certain than one half would be the other one
            check_share("confidence", self.confidence, 0.5, 1)

    @classmethod
    def fixed(cls, head: str, threshold: float) -> Calibration:
        """A threshold that somebody chose; there are no p-values."""
        return cls("number", {head: np.empty(0)}, {head: threshold}, {})

    @property
    def tells(self) -> bool:
        """Whether the share of anomalous images could be told from their scores.

        Without any doubt of a share of 0 no group stands apart, as where most are anomalous.
        """
        return self.share is None or self.share["high"] >= 0.005

    def decide(self, scores: Scores, *, own: bool = False) -> dict[str, Verdicts]:
        """Verdicts of B images by every head and, where they are fused, by all together.

        Args:
            scores: head -> (B,).
            own: the images are those of the reference themselves, in its order.

        Raises:
            InputError: a head that the calibration lacks.
        """
        if missing := [head for head in self.reference if head not in scores]:
            raise InputError(
                f"the calibration is of head {missing[0]}, which gave no scores; score with it "
                "too, or calibrate anew."
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
            # the threshold may come from labels, and lie above where the rate alone would put it
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
