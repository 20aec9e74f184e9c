"""The parts of the report that show what was decided, as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from vlad.calibration import FUSED
from vlad.report.charts import html_text
from vlad.results.coco import RegionFinder
from vlad.results.regions import Region
from vlad.results.verdicts import Judged, summary

_WORDS = {"anomalous": "Anomalous", "normal": "Normal", "unsure": "Unsure"}


class VerdictView:
    """Verdicts and regions of a run, for its report; without any, every part of it is empty.

    Args:
        names: of the heads and of all together, in the order of the report.
    """

    def __init__(self, names: Sequence[str], judged: Judged | None, finder: RegionFinder | None):
        self.names = list(names)
        self.judged = judged
        self.finder = finder

    def verdict(self, name: str, path: str) -> str | None:
        """ "anomalous", "normal" or "unsure"; None where nothing was decided."""
        word = self._value(name, "verdict", path)
        return "unsure" if self._value(name, "abstain", path) else word

    def fused(self, path: str) -> dict[str, float]:
        """The score of all heads together, where there is one."""
        score = self.judged.columns.get(FUSED, {}).get(path) if self.judged else None
        return {} if score is None else {FUSED: score}

    def threshold(self, name: str) -> float | None:
        """The image score above which images are called anomalous."""
        return self.judged.calibration.thresholds.get(name) if self.judged else None

    def data(self, path: str) -> str:
        """The attribute that images are filtered by."""
        if not self.judged:
            return ""
        words = " ".join(self.verdict(name, path) or "none" for name in self.names)
        return f' data-verdicts="{words}"'

    def line(self, name: str, path: str, part: str) -> str:
        """The verdict of an image in words; `part` says for which head it is shown."""
        kind = self.verdict(name, path)
        if kind is None:
            return ""
        notes = []
        p_value = self._value(name, "p_value", path)
        if p_value is not None:
            notes.append(f"p {p_value:.2g}")
        if severity := self._value(name, "severity", path):
            notes.append(f"severity {severity}")
        if count := len(self._regions(name, path)):
            notes.append(f"{count} region{'s' * (count > 1)}")
        return (
            f'<p class="verdict" {part}><b class="{kind}">{_WORDS[kind]}</b> '
            f"{html_text(' · '.join(notes))}</p>"
        )

    def outlines(self, name: str, path: str, part: str) -> str:
        """The regions of an image as lines over it."""
        regions = self._regions(name, path)
        if not regions:
            return ""
        width, height = self.finder.sizes[path]
        lines = "".join(
            "M" + "L".join(f"{x:.4g} {y:.4g}" for x, y in outline) + "Z"
            for region in regions
            for outline in region.outlines
        )
        return (
            f'<svg class="regions" {part} viewBox="0 0 {width} {height}" aria-hidden="true">'
            f'<path d="{lines}"/></svg>'
        )

    def tiles(self) -> str:
        """How many images each verdict was given, for each head."""
        if not self.judged:
            return ""
        tiles = ""
        for i, name in enumerate(self.names):
            paths = self.judged.columns.get(f"{name}_verdict", {})
            found = [self.verdict(name, path) for path in paths]
            for kind, word in _WORDS.items():
                if kind != "unsure" or kind in found:
                    hidden = " hidden" * (i > 0)
                    tiles += (
                        f'<div data-head="{i}"{hidden}><dt><span class="dot {kind}"></span>{word}'
                        f"</dt><dd>{found.count(kind):,}</dd></div>"
                    )
        return tiles

    def note(self) -> str:
        """What the verdicts rest on."""
        if not self.judged:
            return (
                '<p class="note">Nothing is decided here: <code>--threshold auto</code> adds '
                "verdicts and regions.</p>"
            )
        calibration = self.judged.calibration
        rate = max(calibration.rates.values(), default=0)
        meaning = {
            "normals": f"Of images like the held-out normal ones, at most {rate:.3g} are called "
            "anomalous. p is the share of held-out normal images that score as high.",
            "labels": "p is the share of the labelled normal images that score as high.",
            "unlabelled": "The share of anomalous images was estimated from the scores alone, "
            "which is less reliable than held-out normal images. p is a rank among the images.",
            "number": "The threshold was given.",
        }[calibration.source]
        lines = "<br>".join(html_text(line) for line in summary(self.judged).splitlines())
        return f'<p class="note"><b>Verdicts.</b> {meaning}<br>{lines}</p>'

    def filters(self) -> str:
        """The choice of images by their verdict."""
        if not self.judged:
            return ""
        options = [("", "All"), *_WORDS.items()]
        if not any(any(self.judged.columns.get(f"{n}_abstain", {}).values()) for n in self.names):
            options.pop()
        labels = "".join(
            f'<label><input type="radio" name="verdict" value="{value}"{" checked" * (not value)}>'
            f"<span>{word}</span></label>"
            for value, word in options
        )
        return (
            "<fieldset data-script hidden><legend>Verdict</legend>"
            f'<div class="segments">{labels}</div></fieldset>'
        )

    def _regions(self, name: str, path: str) -> Sequence[Region]:
        return self.finder.regions.get(name, {}).get(path, []) if self.finder else []

    def _value(self, name: str, kind: str, path: str):
        found = self.judged.columns.get(f"{name}_{kind}", {}) if self.judged else {}
        return found.get(path)
