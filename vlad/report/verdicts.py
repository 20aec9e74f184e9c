"""The parts of the report that show verdicts, as values for its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vlad.calibration import FUSED
from vlad.results.coco import RegionFinder
from vlad.results.regions import Region
from vlad.results.verdicts import Judged, summary

_WORDS = {"anomalous": "Anomalous", "normal": "Normal", "unsure": "Unsure"}

_MISTAKES = {"missed": "Missed", "alarm": "False alarm"}


@dataclass(eq=False, repr=False)
class VerdictView:
    """Verdicts and regions of a run, for its report; without any, every part of it is empty.

    Args:
        names: of the heads, fused ones included, in the order of the report.
        labels: path -> 0 for normal, 1 for defective, for the labelled images.
    """

    names: Sequence[str]
    judged: Judged | None
    finder: RegionFinder | None
    labels: Mapping[str, int]

    def decided(self, name: str, path: str) -> str | None:
        """ "anomalous" or "normal", unsure or not; None where nothing was decided."""
        return self._value(name, "verdict", path)

    def verdict(self, name: str, path: str) -> str | None:
        """ "anomalous", "normal" or "unsure"; None where nothing was decided."""
        return "unsure" if self._value(name, "abstain", path) else self.decided(name, path)

    def fused(self, path: str) -> dict[str, float]:
        """The score of all heads together, if there is one."""
        score: Any = self.judged.columns.get(FUSED, {}).get(path) if self.judged else None
        return {} if score is None else {FUSED: score}

    @property
    def method(self) -> str | None:
        """How the scores of all heads are fused, if they are."""
        return self.judged.calibration.method if self.judged else None

    def threshold(self, name: str) -> float | None:
        """The image score above which images are flagged as anomalous."""
        return self.judged.calibration.thresholds.get(name) if self.judged else None

    def map_threshold(self, head: str) -> float | None:
        """The value above which a pixel belongs to a region."""
        return self.judged.map_thresholds.get(head) if self.judged else None

    def held_out(self, name: str) -> Mapping[str, float]:
        """Path -> score of the held-out normal images, strangest first."""
        return self.judged.held_out.get(name, {}) if self.judged else {}

    def place(self, name: str, path: str) -> str:
        """What a held-out normal image is to the threshold."""
        assert self.judged is not None
        score, threshold = self.held_out(name)[path], self.judged.calibration.thresholds[name]
        if path not in self.judged.calibration.names:
            return "left out as a suspected defect"
        if score == threshold:
            return "sets the threshold"
        return "above the threshold" if score > threshold else ""

    def mistake(self, name: str, path: str) -> str | None:
        """ "missed" or "alarm" where the verdict is not that of the label, unsure or not."""
        word, label = self.decided(name, path), self.labels.get(path)
        if word is None or label is None or (word == "anomalous") == (label == 1):
            return None
        return "missed" if label else "alarm"

    def line(self, name: str, path: str) -> dict[str, str] | None:
        """The verdict of an image with its p-value, severity and regions."""
        kind = self.verdict(name, path)
        if kind is None:
            return None
        notes = [_MISTAKES[bad].lower()] if (bad := self.mistake(name, path)) else []
        p_value = self._value(name, "p_value", path)
        if p_value is not None:
            notes.append(f"p {p_value:.2g}")
        if severity := self._value(name, "severity", path):
            notes.append(f"severity {severity}")
        if count := len(self._regions(name, path)):
            notes.append(f"{count} region{'s' * (count > 1)}")
        return {"kind": kind, "word": _WORDS[kind], "notes": " · ".join(notes)}

    def outlines(self, name: str, path: str) -> dict[str, Any] | None:
        """The regions of an image as one SVG path over its (width, height) pixels."""
        regions = self._regions(name, path)
        if not self.finder or not regions:
            return None
        width, height = self.finder.sizes[path]
        lines = "".join(
            "M" + "L".join(f"{x:.4g} {y:.4g}" for x, y in outline) + "Z"
            for region in regions
            for outline in region.outlines
        )
        return {"width": width, "height": height, "lines": lines}

    def counts(self) -> list[list[tuple[str, str, int]]]:
        """The images with each verdict: for each head, (verdict, its word, number of images)."""
        if not self.judged:
            return []
        counts = []
        for name in self.names:
            paths = self.judged.columns.get(f"{name}_verdict", {})
            found = [self.verdict(name, path) for path in paths]
            kinds = [kind for kind in _WORDS if kind != "unsure" or kind in found]
            counts.append([(kind, _WORDS[kind], found.count(kind)) for kind in kinds])
            if self.labels:
                wrong = [self.mistake(name, path) for path in paths]
                counts[-1] += [(kind, word, wrong.count(kind)) for kind, word in _MISTAKES.items()]
        return counts

    def notes(self) -> list[str]:
        """What the verdicts rest on, in lines."""
        if not self.judged:
            return []
        calibration = self.judged.calibration
        rate = max(calibration.rates.values(), default=0)
        meaning = {
            "normals": f"At most {rate:.1%} of normal images are flagged as anomalous, if they "
            "are like those held out. p is the share of held-out normal images that score as high.",
            "labels": "p is the share of labelled normal images that score as high.",
            "unlabelled": "The share of anomalous images was estimated from the scores alone, "
            "which is less reliable than held-out normal images. p is a rank among the images.",
            "number": "The threshold was set by hand.",
        }[calibration.source]
        # drift has a section of its own
        return [meaning, *summary(replace(self.judged, drift=None)).splitlines()]

    def choices(self) -> list[tuple[str, str, bool]]:
        """(verdict, its word, whether this run has it) to filter images by; "" is all of them."""
        judged = self.judged is not None
        columns = self.judged.columns if self.judged else {}
        unsure = any(any(columns.get(f"{n}_abstain", {}).values()) for n in self.names)
        has = {"anomalous": judged, "normal": judged, "unsure": unsure}
        words = [(kind, word, has[kind]) for kind, word in _WORDS.items()]
        return [("", "All", True), *words, ("wrong", "Wrong", judged and bool(self.labels))]

    def _regions(self, name: str, path: str) -> Sequence[Region]:
        return self.finder.regions.get(name, {}).get(path, []) if self.finder else []

    def _value(self, name: str, kind: str, path: str) -> Any:
        found = self.judged.columns.get(f"{name}_{kind}", {}) if self.judged else {}
        return found.get(path)
