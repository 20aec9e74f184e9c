"""From the scores of a run to verdicts."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlad.calibration import (
    FALSE_ALARMS,
    FUSED,
    Calibration,
    from_labels,
    from_normals,
    from_unlabelled,
    save_calibration,
)
from vlad.calibration.copies import find_copies, keep_others, mark
from vlad.errors import ImageError, InputError
from vlad.images import read_image
from vlad.results.folder import RunFolder
from vlad.results.maps import largest_cut, read_map
from vlad.scoring.pipeline import READERS
from vlad.types import Sample, Verdicts

# what two runs must share for their scores to be comparable
_SHARED = (
    "backbone",
    "weights",
    "dtype",
    "runtime",
    "image_size",
    "tile",
    "overlap",
    "prompts",
    "params",
    "adapters",
    "bits",
    "roi",
    "boxes",
)


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
    """

    calibration: Calibration
    columns: Mapping[str, Mapping[str, object]]
    map_thresholds: Mapping[str, float]
    held_out: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def anomalous(self) -> set[str]:
        """Paths of the images that any head calls anomalous; all together, where fused."""
        fused = self.columns.get(f"{FUSED}_verdict")
        verdicts = (
            [fused] if fused else [self.columns[f"{h}_verdict"] for h in self.calibration.reference]
        )
        return {path for column in verdicts for path, word in column.items() if word == "anomalous"}


def judge(
    folder: RunFolder, samples: Sequence[Sample], rules: Rules, normals: RunFolder | None = None
) -> Judged:
    """Find verdicts for the scored images, and write the calibration they rest on.

    Args:
        normals: the run over the held-out normal images.

    Raises:
        InputError: too few images to set a threshold, or a calibration of other heads.
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
        else:
            maxima = map_maxima(folder, good)
            calibration = from_unlabelled(scores, maxima, notes=rules.notes, **options)
            own = True
    save_calibration(calibration, folder.out / "calibration.json")
    verdicts = calibration.decide(scores, own=own)
    columns = _table(verdicts, [str(sample.path) for sample in good])
    map_thresholds = dict(calibration.map_thresholds)
    if rules.map_threshold is not None:
        map_thresholds = dict.fromkeys(folder.heads, rules.map_threshold)
    paths = [str(sample.path) for sample in held_out]
    seen = _held_out(calibration, paths, known)
    return Judged(calibration, columns, map_thresholds, seen, _alike(calibration, verdicts))


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


def marks_of(
    samples: Iterable[Sample], open_image: Callable[[Path], Image.Image]
) -> list[np.ndarray | None]:
    """What `find_copies` compares of each image; None of one that cannot be read."""

    def read(sample: Sample) -> np.ndarray | None:
        try:
            return mark(open_image(sample.path))
        except ImageError:
            return None

    with ThreadPoolExecutor(READERS) as threads:
        return list(threads.map(read, samples))


def calibrate_run(
    folder: RunFolder,
    levels: Mapping[str, int] | None = None,
    *,
    target: str = "f1",
    false_alarms: float = FALSE_ALARMS,
    suspects: int = 0,
    **options,
) -> Calibration:
    """A calibration from the images of a finished run.

    Args:
        levels: real path -> 0 for normal, 1 or more for how bad; None says that all are normal.
            Images without a level are left out.
        target: of the threshold, if there are levels.
        false_alarms, suspects: as in `from_normals`.
        options: those of `from_normals` and `from_labels`.

    Raises:
        InputError: a reference image or known defect among them, too few images, or no level for
            any.
    """
    good, _ = known_scores(folder, folder.samples())
    kinds = {"references": "reference image", "known_defects": "known defect"}
    shown = {os.path.realpath(p): kinds[k] for k in kinds for p in folder.settings.get(k, {})}
    for sample in good:
        if kind := shown.get(os.path.realpath(sample.path)):
            raise InputError(
                f"{sample.path} is a {kind} of the run, so its score says nothing about new "
                "images; calibrate on a run over other images."
            )
    if levels is not None:
        good = [sample for sample in good if os.path.realpath(sample.path) in levels]
        if not good:
            raise InputError(
                f"none of the labelled images is in {folder.out}; label images of that run."
            )
    open_image = partial(read_image, bits=folder.settings.get("bits", 16))
    remembered = [*folder.settings.get("references", {}), *folder.settings.get("pool", {})]
    # labelled defects may differ from a normal image by little
    normal = [s for s in good if levels is None or not levels[os.path.realpath(s.path)]]
    copied = find_copies(
        marks_of((Sample(Path(path), "") for path in remembered), open_image),
        marks_of(normal, open_image),
    )
    names = [str(sample.path) for sample in normal]
    kept, notes = keep_others(names, copied, false_alarms if levels is None else None)
    left_out = {sample.path for sample in normal} - {normal[i].path for i in kept}
    good = [sample for sample in good if sample.path not in left_out]
    _, scores = known_scores(folder, good)
    maxima = map_maxima(folder, good)
    names = [names[i] for i in kept]
    options |= {"settings": shared_settings(folder.settings), "false_alarms": false_alarms}
    options |= {"names": names, "notes": notes}
    if levels is None:
        return from_normals(scores, maxima, suspects=suspects, **options)
    found = np.array([levels[os.path.realpath(sample.path)] for sample in good])
    return from_labels(scores, found, maxima, target=target, **options)


def known_scores(
    folder: RunFolder, samples: Sequence[Sample]
) -> tuple[list[Sample], dict[str, np.ndarray]]:
    """The images that every head has scored, and head -> (N,) scores."""
    good, rows = [], []
    for sample in samples:
        row = folder.rows.get(str(sample.path))
        if row is not None and row.error is None and set(folder.heads) <= set(row.scores):
            good.append(sample)
            rows.append([row.scores[head] for head in folder.heads])
    table = np.array(rows, float).reshape(len(rows), len(folder.heads))
    return good, dict(zip(folder.heads, table.T, strict=True))


def map_maxima(folder: RunFolder, samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """Head -> (N,) largest value of each map, also where its file was cut; heads that lack the
    file of a map are left out."""
    found = {}
    for head in folder.heads:
        paths = [folder.map_path(head, sample) for sample in samples]
        if all(path.exists() for path in paths):
            found[head] = np.array([largest_cut(p) or read_map(p).max() for p in paths], float)
    return found


def shared_settings(settings: Mapping) -> dict[str, object]:
    """The settings in a run.json that scores depend on, besides the images."""
    shown = {
        path: digest
        for kind in ("references", "pool", "known_defects")
        for path, digest in settings.get(kind, {}).items()
    }
    return {
        **{key: settings.get(key) for key in _SHARED},
        "references": sorted(shown.values()),
    }


def check_calibration(calibration: Calibration, settings: Mapping[str, object]) -> None:
    """Check that a calibration was made with the settings of a run.

    Args:
        settings: `shared_settings` of the run.

    Raises:
        InputError: naming the first setting that differs.
    """
    if calibration.source == "number":  # a number fits any settings
        return
    renamed = calibration.settings.get("weights") == settings["weights"]
    for key, value in json.loads(json.dumps(settings)).items():
        was = calibration.settings.get(key)
        if was != value and not (key == "backbone" and renamed):
            shown = f" ({was} there, {value} here)" if len(f"{was}{value}") < 160 else ""
            raise InputError(
                f"the calibration was made with other {key}{shown}, so its threshold "
                "does not apply here; score with the settings it was made with, or make a new one."
            )


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
        lines += filter(None, [calibration.basis(name)])
    return "\n".join([*lines, *calibration.notes, *judged.notes])


def _columns(name: str, found: Verdicts, paths: Sequence[str]) -> dict[str, dict[str, object]]:
    words = ["anomalous" if x else "normal" for x in found.anomalous]
    values = {
        "p_value": [None if math.isnan(p) else p for p in found.p_value.tolist()],
        "verdict": words,
        "abstain": found.abstain.tolist(),
        "severity": found.severity.tolist(),
    }
    return {f"{name}_{key}": dict(zip(paths, x, strict=True)) for key, x in values.items()}
