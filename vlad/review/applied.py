"""A detector that has learned from labels, and what that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vlad.calibration import FALSE_ALARMS, Calibration
from vlad.calibration.conformal import least_reference
from vlad.calibration.copies import find_copies, mark
from vlad.detector import Detector
from vlad.detector.learned import MARKED
from vlad.errors import InputError
from vlad.heads.labelled import Labelled
from vlad.review.files import Reviewed, candidates
from vlad.scoring.record import digest_of
from vlad.system.text import and_more, shown

# what became of a labelled image
REFERENCE, DEFECT, ASIDE = "reference image", "known defect", "set aside"
HELD, KNOWN, COPY = "held out before", "learned before", "copy"
NOT_LEARNED = (ASIDE, HELD)
UNNAMED = "defect"  # the kind of a defect whose label gives none
PART = 4  # one in so many labelled images is set aside
SAME = 1e-3  # relative difference of scores of one image on two machines
_CHUNK = 64  # images whose maps are held at once


@dataclass(frozen=True)
class Outcome:
    """What became of a labelled image.

    Attributes:
        role: one of the constants above.
        scores: by the detector before and after.
        anomalous: its verdict before and after; None without a threshold.
    """

    reviewed: Reviewed
    role: str
    scores: tuple[float, float]
    anomalous: tuple[bool | None, bool | None]


@dataclass(frozen=True)
class Applied:
    """What labels changed in a detector.

    Attributes:
        outcomes: of each labelled image.
        before, after: its calibrations, where it has one.
        taken_out: held-out images that set the threshold no more, since they have a defect.
    """

    outcomes: Sequence[Outcome]
    before: Calibration | None
    after: Calibration | None
    taken_out: Sequence[str]

    def of(self, *roles: str, defective: bool | None = None) -> list[Outcome]:
        """The images with one of some roles; of good ones or defects alone, if that is given."""
        return [
            x
            for x in self.outcomes
            if x.role in roles and defective in (None, x.reviewed.label.defective)
        ]


def apply_labels(
    detector: Detector, reviewed: Sequence[Reviewed], folders: Sequence[Path] = ()
) -> Applied:
    """Have a detector learn from labels, and set its threshold again.

    Good images become reference images, and defects known ones if the head is labelled. About one
    in four, told by its digest so that it is the same one every time, is set aside: good ones join
    the held-out images that set the threshold, and defects are counted; but not copies of others.
    So are all images that the head cannot learn.

    Args:
        detector: is changed.
        folders: where else to look for the held-out images that set its threshold.

    Raises:
        HeadError: the head cannot add images to those it learned.
        InputError: a label says otherwise than what the detector was fitted on, its threshold is
            not from normal images, or these are missing, changed, or too few without those that
            have a defect.
    """
    head, before = detector.head_, getattr(detector, "calibration_", None)
    if before and before.source != "normals":
        raise InputError(
            f"the threshold is from {before.source}, not from held-out normal images; calibrate "
            "the detector on such images first."
        )
    held = _held_out(detector, before, folders) if before else {}
    roles = _roles(detector, reviewed, held)
    files = [x.file for x in reviewed]
    scores = [_scores(detector, files)]

    def chosen(role: str) -> list[Reviewed]:
        return [x for x, own in zip(reviewed, roles, strict=True) if own == role]

    defective = {x.label.digest for x in reviewed if x.label.defective}
    kept = [file for digest, file in held.items() if digest not in defective]
    taken_out = [str(file) for digest, file in held.items() if digest in defective]
    kept += [x.file for x in chosen(ASIDE) if not x.label.defective]
    if learned := chosen(REFERENCE):
        detector.partial_fit([x.file for x in learned])
    if learned := chosen(DEFECT):
        kinds = [x.label.kind or UNNAMED for x in learned]
        detector.learn_defects([x.file for x in learned], kinds)
    rate = before.rates[head.name] if before else FALSE_ALARMS
    if before or len(kept) >= least_reference(rate):
        detector.calibrate(kept, rate, before.confidence if before else None)
    scores.append(_scores(detector, files))
    after = getattr(detector, "calibration_", None)
    if after:
        notes = dict.fromkeys([*(before.notes if before else ()), *after.notes])
        aside = [
            score
            for score, x, role in zip(scores[1], reviewed, roles, strict=True)
            if role in NOT_LEARNED and x.label.defective
        ]
        defects = {head.name: np.array(aside)} if aside else {}
        after = replace(after, notes=[*notes], defects=defects)
        detector.calibration_ = after
    outcomes = [
        Outcome(x, role, (a, b), (_above(a, before, head.name), _above(b, after, head.name)))
        for x, role, a, b in zip(reviewed, roles, *scores, strict=True)
    ]
    return Applied(outcomes, before, after, taken_out)


def _held_out(
    detector: Detector, calibration: Calibration, folders: Sequence[Path]
) -> dict[str, Path]:
    """Digest -> file of the held-out images that set the threshold."""
    files = [next(candidates(name, folders), None) for name in calibration.names]
    named = zip(calibration.names, files, strict=True)
    names = [Path(name).name for name, file in named if not file]
    known = calibration.reference[detector.head_.name]
    if names or len(files) < len(known):
        raise InputError(
            f"{len(names) or len(known)} of {len(known)} held-out images that set the threshold "
            f"are not found: {shown(and_more(names or ['images in memory'], 3))}; give their "
            "folder as `images`, or calibrate the detector on images that are there."
        )
    found = [file for file in files if file]
    now = _scores(detector, found)
    differ = ~np.isclose(now, known, rtol=SAME, atol=SAME * float(np.abs(known).max()))
    if differ.any():
        names = [found[place].name for place in np.flatnonzero(differ)]
        raise InputError(
            f"{len(names)} of {len(known)} held-out images that set the threshold have other "
            f"scores now: {shown(and_more(names, 3))}; put the images back, or calibrate the "
            "detector again."
        )
    return {digest_of(file): file for file in found}


def _roles(detector: Detector, reviewed: Sequence[Reviewed], held: Mapping[str, Path]) -> list[str]:
    """What becomes of each image."""
    learned, head = detector.learned_, detector.head_
    defects = {digest for name, digest in learned.items() if f"{name}{MARKED}" in learned}
    normal = {digest for name, digest in learned.items() if not name.endswith(MARKED)} - defects

    def role(x: Reviewed) -> str:
        digest, defective = x.label.digest, x.label.defective
        if digest in (normal if defective else defects):
            raise InputError(
                f"{x.label.path} is labelled {x.label.label}, but the detector was fitted on it as "
                f"a {REFERENCE if defective else DEFECT}; fit it again without this image, or "
                "correct the label."
            )
        if digest in normal | defects:
            return KNOWN
        if digest in held:
            return HELD
        learns = isinstance(head, Labelled) if defective else head.fitted
        if not learns or int(digest, 16) % PART == 0:
            return ASIDE
        return DEFECT if defective else REFERENCE

    roles = list(map(role, reviewed))
    for defective in (False, True):  # a good image and its defect may differ by little
        own = [i for i, x in enumerate(reviewed) if x.label.defective == defective]
        aside = [i for i in own if roles[i] == ASIDE]
        marks = _marks(detector, [reviewed[i] for i in own if roles[i] in (REFERENCE, DEFECT)])
        if not defective:
            marks = [*detector._marks, *marks]
        copied = find_copies(marks, _marks(detector, [reviewed[i] for i in aside]))
        for place in np.flatnonzero(copied):
            roles[aside[place]] = COPY
    return roles


def _marks(detector: Detector, images: Sequence[Reviewed]) -> list[np.ndarray]:
    return [mark(detector.setup.open_image(x.file)) for x in images]


def _scores(detector: Detector, files: Sequence[Path]) -> list[float]:
    """The image score of each file."""
    chunks = (files[place : place + _CHUNK] for place in range(0, len(files), _CHUNK))
    return [score for chunk in chunks for score in detector.score(chunk).image_score.tolist()]


def _above(score: float, calibration: Calibration | None, head: str) -> bool | None:
    return score > calibration.thresholds[head] if calibration else None
