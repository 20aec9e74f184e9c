"""Drift over a rolling window of images as they are scored."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vlad.calibration.drift.compare import Drift, compare
from vlad.errors import InputError
from vlad.system.numbers import check_count, check_share
from vlad.types import Seen

if TYPE_CHECKING:  # which holds the looks of its images
    from vlad.calibration.calibration import Calibration

WINDOW = 200  # images
RATE = 0.01  # windows of good images without a change that are called drift
LEAST = 10  # images, on either side, that a comparison needs


def why_not(calibration: Calibration) -> str | None:
    """Why drift cannot be told from a calibration, and what to do; None if it can be."""
    if calibration.source == "number":
        return (
            "Drift cannot be told: the threshold is a number, without good images to compare with. "
            "Calibrate on good images."
        )
    if calibration.source == "unlabelled":
        return (
            "Drift cannot be told: the threshold comes from the images themselves. Calibrate on "
            "good images."
        )
    if calibration.drift is None:
        return (
            "Drift cannot be told: the calibration does not know how its good images look, as one "
            "of an earlier version. Calibrate again."
        )
    if (count := len(calibration.drift.brightness)) < LEAST:
        return f"Drift cannot be told: it takes {LEAST} good images to compare with, not {count}."
    return None


class DriftMonitor:
    """Compares the last images with the good ones of a calibration.

    While the window fills, comparisons come after an eighth, a quarter, a half and all of it; then
    after every further half. They share the false-alarm rate so that each stretch of images as long
    as the window gets all of it once: an eighth, an eighth, a quarter and a half; then two halves.

    Args:
        calibration: one for which `why_not` is None.
        window: images that are compared; at least 8.
        rate: the false-alarm rate, the probability of any alarm in a stretch as long as the window
            if all of its images are drawn like those of calibration.

    Raises:
        InputError: drift cannot be told from the calibration, or a number out of range.

    Attributes:
        state: what the last comparison showed.
    """

    def __init__(self, calibration: Calibration, window: int = WINDOW, rate: float = RATE):
        if why_not(calibration):
            raise InputError(
                f"This calibration (source: {calibration.source}) knows no good images to compare "
                "with, or not how they look; calibrate on good images again."
            )
        check_count("window", window, 8)
        check_share("rate", rate)
        assert calibration.drift is not None  # else there was a reason
        self.calibration, self.window, self.rate = calibration, window, rate
        self.state = Drift(0, len(calibration.drift.brightness), rate)
        self._images: deque[tuple[Mapping[str, float], Seen]] = deque(maxlen=window)
        self._count = 0
        half = window // 2
        self._shares = {window // 8: 1 / 8, window // 4: 1 / 8, half: 1 / 4}

    def add(self, scores: Mapping[str, float], seen: Seen) -> bool:
        """Add the next image.

        Args:
            scores: head -> image score.

        Returns:
            Whether what moved is no longer what it was.

        Raises:
            InputError: as `compare`.
        """
        self._images.append((scores, seen))
        self._count += 1
        share = self._shares.get(self._count, 0)
        if self._count >= self.window and self._count % (self.window // 2) == 0:
            share = 1 / 2
        if not share:
            return False
        before = [part.name for part in self.state.moved]
        scored = {h: [s[h] for s, _ in self._images] for h in self.calibration.reference}
        looks = [seen for _, seen in self._images]
        self.state = compare(self.calibration, scored, looks, share * self.rate)
        return [part.name for part in self.state.moved] != before
