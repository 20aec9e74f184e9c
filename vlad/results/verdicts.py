"""From the scores of a run to verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vlad.calibration import (
    FALSE_ALARMS,
    FUSED,
    Calibration,
    from_normals,
    from_unlabelled,
    save_calibration,
)
from vlad.calibration.counts import counts
from vlad.calibration.drift import Drift, with_looks
from vlad.errors import InputError
from vlad.results.folder import RunFolder
from vlad.results.known import known_scores, map_maxima
from vlad.results.seen import read_seen
from vlad.results.shared import shared_settings
from vlad.system.text import counted
from vlad.types import Sample, Verdicts


@dataclass(frozen=True)
class Rules:
    """How verdicts are found.

    Attributes:
        calibration: an existing one; None makes one from the held-out normal images or, if there
            are none, from the images themselves.
        false_alarms: the share of normal images that may be flagged as anomalous.
        method: how heads are fused, or None.
        confidence: decisions less certain than this are withheld, or None.
        held_out: normal images that no head was fitted on.
        suspects: number of the strangest of them to leave out as suspected defects.
        notes: sentences about them.
        holdout: good images of another day, whose false alarms are counted; they move no threshold.
        holdout_notes: sentences about those.
        map_threshold: replaces that of the calibration.
        min_area: smallest area of a region, in mm² with `mm_per_pixel`, else in square pixels.
        mm_per_pixel: the side of a pixel of the images, or None.
    """

    calibration: Calibration | None = None
    false_alarms: float = FALSE_ALARMS
    method: str | None = None
    confidence: float | None = None
    held_out: Sequence[Sample] = ()
    suspects: int = 0
    notes: Sequence[str] = ()
    holdout: Sequence[Sample] = ()
    holdout_notes: Sequence[str] = ()
    map_threshold: float | None = None
    min_area: float = 0.0
    mm_per_pixel: float | None = None


@dataclass(frozen=True)
class Judged:
    """Verdicts of a run.

    Attributes:
        calibration: the one they were found with.
        columns: name of a column of scores.csv -> path -> value.
        map_thresholds: head -> the value above which a pixel belongs to a region.
        held_out: head, or "fused" -> path -> score of the held-out normal images, strangest
            first; suspected defects, which the calibration leaves out, included.
        notes: sentences about what these verdicts are worth.
        drift: whether the images still look and score like the good ones of calibration; None if
            that was not compared.
    """

    calibration: Calibration
    columns: Mapping[str, Mapping[str, object]]
    map_thresholds: Mapping[str, float]
    held_out: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    drift: Drift | None = None

    @property
    def anomalous(self) -> set[str]:
        """Paths of the images that any head calls anomalous; all together, where fused."""
        fused = self.columns.get(f"{FUSED}_verdict")
        verdicts = (
            [fused] if fused else [self.columns[f"{h}_verdict"] for h in self.calibration.reference]
        )
        return {path for column in verdicts for path, word in column.items() if word == "anomalous"}


def judge(
    folder: RunFolder,
    samples: Sequence[Sample],
    rules: Rules,
    normals: RunFolder | None = None,
    holdout: RunFolder | None = None,
) -> Judged:
    """Find verdicts for the scored images, and write the calibration they rest on.

    Args:
        normals: the run over the held-out normal images.
        holdout: the run over the good images of another day.

    Raises:
        InputError: too few images to set a threshold, a calibration of other heads, or none of the
            good images of another day has scores.
        OutputError: a file cannot be written.
    """
    good, scores = known_scores(folder, samples)
    calibration, own = rules.calibration, False
    known: dict[str, np.ndarray] = {}
    held_out: list[Sample] = []
    if calibration is None:
        options: dict[str, Any] = {
            "false_alarms": rules.false_alarms,
            "method": rules.method,
            "confidence": rules.confidence,
            "settings": shared_settings(folder.settings),
        }
        if normals is not None:
            held_out, known = known_scores(normals, rules.held_out)
            calibration = from_normals(
                known,
                map_maxima(normals, held_out),
                names=[str(sample.path) for sample in held_out],
                suspects=rules.suspects,
                notes=rules.notes,
                **options,
            )
            calibration = with_looks(calibration, read_seen(normals))
        else:
            maxima = map_maxima(folder, good)
            calibration = from_unlabelled(scores, maxima, notes=rules.notes, **options)
            own = True
    notes = [*rules.holdout_notes]
    if holdout is not None:
        calibration, unread = _with_holdout(calibration, holdout, rules.holdout)
        notes += unread
    save_calibration(calibration, folder.out / "calibration.json")
    verdicts = calibration.decide(scores, own=own)
    columns = _table(verdicts, [str(sample.path) for sample in good])
    map_thresholds = dict(calibration.map_thresholds)
    if rules.map_threshold is not None:
        map_thresholds = dict.fromkeys(folder.heads, rules.map_threshold)
    paths = [str(sample.path) for sample in held_out]
    seen = _held_out(calibration, paths, known)
    notes = [*_alike(calibration, verdicts), *notes]
    return Judged(calibration, columns, map_thresholds, seen, notes)


def _with_holdout(
    calibration: Calibration, holdout: RunFolder, samples: Sequence[Sample]
) -> tuple[Calibration, list[str]]:
    """The calibration with the scores of good images of another day; how many have none."""
    good, scores = known_scores(holdout, samples)
    failed = len(samples) - len(good)
    if not good:
        raise InputError(
            f"none of the {counted(failed, 'good image')} of another day could be scored (see the "
            f"column error of {holdout.scores_csv}); give others."
        )
    said = f"{failed} of {counted(len(samples), 'good image')} of another day could not be scored"
    notes = [f"{said}; left out."] if failed else []
    return replace(calibration, holdout=scores), notes


def _alike(calibration: Calibration, verdicts: Mapping[str, Verdicts]) -> list[str]:
    """A sentence for each head whose scores are those of the held-out normal images again."""
    from scipy.stats import ks_2samp

    notes = []
    for name, known in calibration.known().items() if calibration.source == "normals" else ():
        scores, anomalous = verdicts[name].image_score, verdicts[name].anomalous
        # a few defects hardly move a distribution, and are found all the same
        if len(scores) < 10 or anomalous.mean() > calibration.rates[name]:
            continue
        p_value = ks_2samp(scores, known).pvalue
        if p_value > 0.05:
            notes.append(
                f"{name}: scores of these images and of the held-out normal images do not differ "
                f"(Kolmogorov-Smirnov p = {p_value:.2g}). Either nearly all images are good, or "
                f"{name} cannot see their defects."
            )
    return notes


def _held_out(
    calibration: Calibration, paths: Sequence[str], scores: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """As in `Judged`, from what the calibration keeps and from all that were scored here."""
    if calibration.source != "normals" or not calibration.names:
        return {}
    found = {}
    for name, known in calibration.known().items():
        own = dict(zip(calibration.names, known.tolist(), strict=True))
        own |= zip(paths, scores[name].tolist(), strict=True) if name in scores else ()
        found[name] = dict(sorted(own.items(), key=lambda pair: -pair[1]))
    return found


def decide(
    calibration: Calibration, paths: Sequence[str], scores: Mapping[str, np.ndarray]
) -> dict[str, dict[str, object]]:
    """Verdicts of N images as further columns: name -> path -> value.

    Args:
        scores: head -> (N,).

    Raises:
        InputError: a calibration of other heads.
    """
    return _table(calibration.decide(scores), paths)


def _table(verdicts: Mapping[str, Verdicts], paths: Sequence[str]) -> dict[str, dict[str, object]]:
    columns: dict[str, dict[str, object]] = {}
    if FUSED in verdicts:
        columns[FUSED] = dict(zip(paths, verdicts[FUSED].image_score.tolist(), strict=True))
    for name, found in verdicts.items():
        columns |= _columns(name, found, paths)
    return columns


def summary(judged: Judged) -> str:
    """What was decided and from what, a line for each head and for all together."""
    calibration = judged.calibration
    count = len(next(iter(calibration.reference.values())))
    sources = {
        "normals": f"from {count} held-out normal images",
        "labels": f"from labelled images, {count} of them normal",
        "unlabelled": f"from the {count} images themselves",
        "number": "as given",
    }
    lines = []
    if not calibration.tells:
        lines.append(
            "Estimated share of anomalous images: could not tell, since no scores stand apart; "
            "give normal images with --normal."
        )
    elif share := calibration.share:
        lines.append(
            f"Estimated share of anomalous images: {share['mean']:.0%} "
            f"({share['low']:.0%} to {share['high']:.0%})."
        )
    for name, threshold in calibration.thresholds.items():
        verdicts = judged.columns.get(f"{name}_verdict", {})
        unsure = sum(map(bool, judged.columns.get(f"{name}_abstain", {}).values()))
        line = f"{name}: {list(verdicts.values()).count('anomalous')} of {len(verdicts)} anomalous"
        line += f", above {threshold:.6g} ({sources[calibration.source]})"
        lines.append(line + (f"; {unsure} unsure" if unsure else ""))
        lines += filter(None, (*counts(calibration, name), calibration.basis(name)))
    drift = [judged.drift.sentence] if judged.drift else []
    return "\n".join([*lines, *calibration.notes, *judged.notes, *drift])


def _columns(name: str, found: Verdicts, paths: Sequence[str]) -> dict[str, dict[str, object]]:
    words = ["anomalous" if x else "normal" for x in found.anomalous]
    values = {
        "p_value": [None if math.isnan(p) else p for p in found.p_value.tolist()],
        "verdict": words,
        "abstain": found.abstain.tolist(),
        "severity": found.severity.tolist(),
    }
    return {f"{name}_{key}": dict(zip(paths, x, strict=True)) for key, x in values.items()}
