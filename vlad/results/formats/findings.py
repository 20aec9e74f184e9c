"""What a finished run found in each image, as the formats of other programs need it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vlad.calibration import FUSED
from vlad.datasets.ids import parts_below
from vlad.errors import InputError
from vlad.results.coco import ANOMALY, read_regions
from vlad.results.finished import Finished
from vlad.results.regions import Region
from vlad.results.rows import Row
from vlad.system.text import instead, printable, shown
from vlad.types import Sample


@dataclass(frozen=True)
class Finding:
    """What a run found in one image.

    Attributes:
        sample: the image, with the id that names its maps.
        name: its file below `Findings.folder`, with "/" between parts.
        size: (width, height) in pixels, upright.
        score: image score that decided its verdict.
        scores: head, or "fused" -> image score.
        verdict: "normal", "anomalous" or "unsure".
        kind: of its regions: the nearest known kind of defect, else "anomaly".
        regions: in pixels of the image, highest score first; none in an image judged normal.
    """

    sample: Sample
    name: str
    size: tuple[int, int]
    score: float
    scores: Mapping[str, float]
    verdict: str
    kind: str
    regions: Sequence[Region]


@dataclass(frozen=True)
class Findings:
    """What a run found.

    Attributes:
        folder: absolute path of the folder that names of images are relative to.
        judge: the head, or "fused", that decided the verdicts.
        head: the head whose anomaly maps the regions are from.
        threshold: image score above which images are flagged as anomalous; None if not known.
        images: in the order of the run.
        left_out: reason -> number of images.
        normal_regions: number of regions that are left out since their image is judged normal.
        placed: whether the images are copied to `folder` or linked there.
    """

    folder: Path
    judge: str
    head: str
    threshold: float | None
    images: Sequence[Finding]
    left_out: Mapping[str, int]
    normal_regions: int
    placed: bool = False

    @property
    def kinds(self) -> list[str]:
        """Kinds of regions: "anomaly", then the known kinds of defects that were found."""
        named = {image.kind for image in self.images if image.regions} - {ANOMALY}
        return [ANOMALY, *sorted(named)]

    def without(self, images: Mapping[str, str]) -> Findings:
        """The same without some images: path -> why they are left out."""
        kept = [image for image in self.images if str(image.sample.path) not in images]
        left_out = Counter(self.left_out) + Counter(images.values())
        return replace(self, images=kept, left_out=left_out)


def findings_of(run: Finished, head: str | None = None) -> Findings:
    """The findings of a finished run.

    Images that failed, that have no verdict, or whose file changed since they were scored are left
    out and counted; images that are gone stay.

    Args:
        head: whose verdicts and regions; None takes the verdicts of "fused", if there are any, and
            of the first head otherwise. Fused heads have no maps, so regions are the first head's.

    Raises:
        InputError: a run without verdicts, regions or this head, with damaged regions, or with
            paths relative to another folder.
    """
    folder = run.folder
    if not run.verdicts:
        raise InputError(
            f"{folder} has no verdicts; repeat its command with `resume` and `threshold` auto."
        )
    judge = head or (FUSED if FUSED in run.verdicts else next(iter(run.verdicts)))
    if judge not in run.verdicts:
        raise InputError(f"{folder} has no verdicts of {judge}{instead(judge, run.verdicts)}")
    drawn = next(iter(folder.heads)) if judge == FUSED else judge
    file = folder.out / "regions" / f"{drawn}.json"
    if not file.exists():
        raise InputError(
            f"{folder} has no regions of {drawn}; score its images with `vlad score`, with "
            "maps and a `threshold`."
        )
    regions = read_regions(file)
    below = parts_below(folder.rows, folder.settings["root"])
    images: list[Finding] = []
    left_out: Counter[str] = Counter()
    dropped = 0
    for sample in folder.samples():
        path = str(sample.path)
        row, verdict = folder.rows[path], run.verdicts[judge].get(path)
        size, found = regions.get(printable(path), (None, []))
        if reason := _why_not(row, verdict, size, folder.changed(sample)):
            left_out[reason] += 1
            continue
        assert size is not None and verdict is not None
        if verdict == "normal":
            dropped += len(found)
            found = []
        if not sample.path.is_absolute() and below[path][0] == "..":
            raise InputError(
                f"{shown(path)} is relative to the folder that {folder} was made in; go there "
                "and repeat the command."
            )
        scores = {name: known[path] for name, known in run.scores.items() if path in known}
        name = "/".join(map(printable, below[path]))
        kind = _kind(row, judge)
        images.append(Finding(sample, name, size, scores[judge], scores, verdict, kind, found))
    root = Path(folder.settings["root"])
    threshold = run.thresholds.get(judge)
    return Findings(root, judge, drawn, threshold, images, left_out, dropped)


def missing(found: Findings) -> list[str]:
    """Paths of the images that are no longer where the run found them."""
    paths = (str(image.sample.path) for image in found.images)
    return [path for path in paths if not os.path.isfile(path)]


def named_otherwise(found: Findings) -> list[str]:
    """Names of the images that their ids, the names of label files, do not follow."""
    names = [] if found.placed else found.images
    return [
        image.name
        for image in names
        if os.path.splitext(image.name)[0] != Path(image.sample.id).as_posix()
    ]


def escaped(found: Findings) -> list[str]:
    """Names of the images whose files have names that are not UTF-8."""
    names = [] if found.placed else found.images
    return [
        image.name for image in names if printable(str(image.sample.path)) != str(image.sample.path)
    ]


def _why_not(
    row: Row, verdict: str | None, size: tuple[int, int] | None, changed: bool
) -> str | None:
    if row.error is not None:
        return "failed"
    if verdict is None or size is None:
        return "without verdict or regions"
    return "changed since scored" if changed else None


def _kind(row: Row, judge: str) -> str:
    named = row.kinds.values() if judge == FUSED else [row.kinds.get(judge, "")]
    return next(filter(None, named), ANOMALY)
