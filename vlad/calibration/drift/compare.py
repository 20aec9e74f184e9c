"""A window of images against the good images of a calibration, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vlad.calibration.drift.bins import bins_p_value
from vlad.calibration.drift.embeddings import embeddings_p_value, projected
from vlad.system.text import counted
from vlad.types import Seen

if TYPE_CHECKING:  # which holds the looks of its images
    from vlad.calibration.calibration import Calibration

BRIGHTNESS, SHARPNESS, EMBEDDING = "brightness", "sharpness", "embedding"
# smaller relative changes are no drift, however certain: no line is as constant as that
LEAST_CHANGE = {BRIGHTNESS: 0.03, SHARPNESS: 0.15}
MOST = 500  # images whose embeddings are compared, evenly spaced
LOOKS = (BRIGHTNESS, SHARPNESS, EMBEDDING)


@dataclass(frozen=True)
class Part:
    """One thing that is compared.

    Attributes:
        name: a head, whose image scores are compared, or "brightness", "sharpness", "embedding".
        p_value: the probability that good images as those of calibration differ as much.
        moved: whether it is below this part's share of the false-alarm rate; of brightness and
            sharpness, only if the change is also at least 3 % or 15 %.
        change: of scores, the share of the window above the median of calibration; of brightness
            and of sharpness (the contrast of edges, in proportion to mean grey), the relative
            change of the middle; None of embeddings.
    """

    name: str
    p_value: float
    moved: bool
    change: float | None

    @property
    def title(self) -> str:
        """What it is, as a heading."""
        return self.name.capitalize() if self.name in LOOKS else f"Scores of {self.name}"

    @property
    def words(self) -> str:
        """How it is in this window, in a few words."""
        if self.name == EMBEDDING or self.change is None:
            return "show something else, or the same from elsewhere" if self.moved else "as before"
        amount = f"{abs(self.change):.0%}"
        if self.name == BRIGHTNESS:
            return f"are {amount} {'darker' if self.change < 0 else 'brighter'}"
        if self.name == SHARPNESS:
            return f"have {amount} {'weaker' if self.change < 0 else 'stronger'} edges"
        if 0.4 < self.change < 0.6:
            return "score as high in the middle"
        return f"score {'higher' if self.change > 0.5 else 'lower'}"


@dataclass(frozen=True)
class Drift:
    """What a window of images shows.

    Attributes:
        images: number of images in the window; 0 before the first comparison.
        good: number of good images that it is compared with.
        rate: the false-alarm rate of this comparison, shared by its parts.
        parts: what was compared.
        whole: number of images in the run that the window was drawn from, evenly spaced; 0 for the
            last images.
    """

    images: int
    good: int
    rate: float
    parts: Sequence[Part] = ()
    whole: int = 0

    @property
    def moved(self) -> list[Part]:
        """The parts that moved."""
        return [part for part in self.parts if part.moved]

    @property
    def looked(self) -> bool:
        """Whether more than scores was compared."""
        return any(part.name in LOOKS for part in self.parts)

    @property
    def sentence(self) -> str:
        """What moved, by how much, and what to do."""
        images, good = counted(self.images, "image"), counted(self.good, "good image")
        window = f"these {images}" if self.whole else f"the last {images}"
        if self.whole > self.images:
            window = f"{self.images} of these {counted(self.whole, 'image')}"
        if not self.parts:
            return f"Drift: too few images to compare with the {good} of calibration."
        if not self.moved:
            alike = "look and score" if self.looked else "score"
            return f"No drift: {window} {alike} like the {good} of calibration."
        said = [self._said(part) for part in self.moved]
        listed = ", ".join(said[:-1]) + (" and " if len(said) > 1 else "") + said[-1]
        return f"Drift: {window} {listed}. {self._advice()}"

    def _said(self, part: Part) -> str:
        if part.name in LOOKS:
            return part.words
        rarity = f"{min(1 - part.p_value, 0.9999):.2%}".rstrip("0%").rstrip(".")
        than = f"than {rarity}% of calibration windows"
        if part.words.endswith("er"):
            return f"{part.words} by {part.name} {than}"
        return f"{part.words} by {part.name}, but spread otherwise {than}"

    def _advice(self) -> str:
        if not self.looked:
            return (
                "How they look was not compared: look at the highest scores before you move the "
                "threshold."
            )
        names = {part.name for part in self.moved}
        scores = names - set(LOOKS)
        causes = []
        if BRIGHTNESS in names:
            causes.append("light and exposure")
        if SHARPNESS in names:
            causes.append("focus and lens")
        if EMBEDDING in names:
            causes.append("product, background and the place of the camera")
        if not causes:
            return (
                "They look as before, so either more of them are defective or the head sees what "
                "brightness, sharpness and embedding do not: look at the highest scores before you "
                "move the threshold."
            )
        listed = ", then ".join(causes)
        end = "" if scores else " The scores have not moved."
        return (
            f"Check {listed} before you move the threshold; if many of these images are "
            f"defective, that alone can be the cause.{end}"
        )


def compare(
    calibration: Calibration,
    scores: Mapping[str, Sequence[float]],
    seen: Sequence[Seen],
    rate: float,
) -> Drift:
    """Compare a window of w images with the good images of a calibration.

    Args:
        scores: head -> (w,) image scores, of every head of the calibration.
        seen: how each of them looks, if the calibration knows that of its images; empty compares
            scores alone.
        rate: the false-alarm rate; each of the parts, the scores of every head, brightness,
            sharpness and embedding, gets the same share of it (Bonferroni).

    Raises:
        InputError: embeddings of another kind.
    """
    looks = calibration.drift if seen else None
    for one in seen:
        assert looks is not None  # as `why_not` has it
        looks.check(one)
    kept = seen if looks and looks.width else ()
    count = len(calibration.reference) + (3 if kept else 2 if looks else 0)
    level = rate / count
    parts = []

    def add(name: str, p_value: float, change: float | None) -> None:
        enough = abs(change or 0) >= LEAST_CHANGE.get(name, 0)
        parts.append(Part(name, p_value, enough and p_value <= level, change))

    for head, reference in calibration.reference.items():
        known, window = np.asarray(reference, float), np.asarray(scores[head], float)
        above = float((window > np.median(known)).mean())
        add(head, bins_p_value(known, window), above)
    if looks is None:
        return Drift(len(window), len(known), rate, parts)
    bright = np.array([one.brightness for one in seen])
    change = np.median(bright) / max(float(np.median(looks.brightness)), 1e-6) - 1
    add(BRIGHTNESS, bins_p_value(looks.brightness, bright), float(change))
    sharp = np.array([one.sharpness for one in seen])
    # half the difference of log variances is the logarithm of the ratio of contrasts
    change = np.expm1((np.median(sharp) - np.median(looks.sharpness)) / 2)
    add(SHARPNESS, bins_p_value(looks.sharpness, sharp), float(change))
    if kept:
        places = np.unique(np.linspace(0, len(kept) - 1, min(MOST, len(kept))).astype(int))
        now = projected(np.stack([kept[i].embedding for i in places]))
        add(EMBEDDING, embeddings_p_value(looks.embeddings, now, level), None)
    return Drift(len(seen), len(looks.brightness), rate, parts)
