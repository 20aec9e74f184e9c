"""Score the images that a choice of a head rests on: left-out normal ones, defects and parts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from vlad.backbones.backbone import Backbone
from vlad.calibration.copies import find_copies, mark
from vlad.datasets.shots import draw_shots
from vlad.errors import ImageError, InputError
from vlad.evaluation.leave_out import FOLDS, LeftOut, leave_out
from vlad.evaluation.viewer import Shown, Viewer
from vlad.heads import load_head
from vlad.scoring.setup import Setup
from vlad.synthetic import SyntheticSet
from vlad.system.progress import Progress
from vlad.system.text import and_more, counted
from vlad.types import Sample

LEAST_NORMALS = 4
MOST_NORMALS, MOST_DEFECTS, MOST_PARTS = 60, 100, 30  # larger lists are drawn from
DRAWN = 16  # drawn defects at least


@dataclass
class Compared:
    """The scores of each head, and what was left out on the way.

    Attributes:
        scores: head -> its scores.
        normals: the normal images, in the order of their scores.
        defects, parts: number of the other images that were scored.
        errors: path -> why an image could not be used.
        notes: sentences about images that do not count, or not all of them.
    """

    scores: dict[str, LeftOut] = field(default_factory=dict)
    normals: list[Path] = field(default_factory=list)
    defects: int = 0
    parts: int = 0
    errors: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def compare(
    backbone: Backbone,
    names: Sequence[str],
    setup: Setup,
    normals: Sequence[Sample],
    defects: Sequence[Sample],
    parts: Sequence[Sample],
    category: str | None = None,
    seed: int = 0,
) -> Compared:
    """Score images with heads that were not fitted on them, all in one pass of the backbone.

    Args:
        names: heads that learn from normal images as they are.
        normals, defects, parts: images; of long lists some are drawn.
        category: what prompts call the images.
        seed: random seed of all draws.

    Raises:
        InputError: too few normal images can be used, no other image, or a defect that is a normal
            image too.
        VladError: as `vlad.scoring.panel.Panel`.
    """
    done = Compared()
    normals = _drawn(normals, MOST_NORMALS, "normal images", seed, done)
    defects = _drawn(defects, MOST_DEFECTS, "defects", seed, done)
    parts = _drawn(parts, MOST_PARTS, "images to score", seed, done)
    epochs = -(-DRAWN // max(1, len(normals)))
    total = len(normals) * (1 + epochs) + len(defects) + len(parts)
    panel = setup.panel(backbone, {name: load_head(name) for name in names})
    viewer = Viewer(panel, category, total)
    with Progress(total, verb="seen") as progress:
        looker = _Looker(viewer, setup.open_image, done, progress.advance)
        good = looker.look(normals)
        kept = _without_copies(good, done)
        if len(kept) < LEAST_NORMALS:
            raise InputError(
                f"Heads are compared on at least {LEAST_NORMALS} different normal images, and "
                f"{len(kept)} can be used; give more with `normal`."
            )
        bad = looker.look(defects)
        _check_apart(good, bad)
        scored = looker.look(parts)
        if not scored:
            raise InputError(
                f"none of {counted(len(parts), 'image')} to score can be read; give others."
            )
        drawing = SyntheticSet(
            [image.sample for image in kept], seed=seed, share=1, open_image=setup.open_image
        )
        copies = list(progress.track(viewer.show(_defects_on(drawing, epochs))))
    done.normals = [image.sample.path for image in kept]
    done.defects, done.parts = len(bad), len(scored)
    folds = min(len(kept), FOLDS)
    with Progress(folds * len(names), verb="compared", unit="folds") as progress:
        for name in names:
            done.scores[name] = leave_out(
                viewer,
                name,
                [image.shown for image in kept],
                [copies[i :: len(kept)] for i in range(len(kept))],
                [image.shown for image in bad],
                [image.shown for image in scored],
                progress.advance,
            )
    return done


@dataclass(frozen=True)
class _Looked:
    """An image that could be read."""

    sample: Sample
    mark: np.ndarray
    digest: bytes
    shown: Shown


class _Looker:
    """Reads image files and shows them to the heads."""

    def __init__(
        self,
        viewer: Viewer,
        open_image: Callable[[Path], Image.Image],
        done: Compared,
        advance: Callable[[], None],
    ):
        self.viewer, self.open_image, self.done, self.advance = viewer, open_image, done, advance

    def look(self, samples: Sequence[Sample]) -> list[_Looked]:
        """The images that can be read."""
        about: list[tuple[Sample, np.ndarray, bytes]] = []

        def opened() -> Iterator[Image.Image]:
            for sample in samples:
                try:
                    image = self.open_image(sample.path)
                except ImageError as error:
                    self.done.errors[str(sample.path)] = str(error)
                    self.advance()
                    continue
                digest = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).digest()
                about.append((sample, mark(image), digest))
                yield image

        found: list[_Looked] = []
        for shown in self.viewer.show(opened()):  # `about` grows meanwhile
            found.append(_Looked(*about[len(found)], shown))
            self.advance()
        return found


def _drawn(
    samples: Sequence[Sample], most: int, what: str, seed: int, done: Compared
) -> Sequence[Sample]:
    if len(samples) <= most:
        return samples
    done.notes.append(f"{most} of the {len(samples)} {what} were drawn for the comparison.")
    return draw_shots(samples, most, seed)


def _without_copies(good: Sequence[_Looked], done: Compared) -> list[_Looked]:
    """The normal images that are not copies of earlier ones, whose scores would be near 0."""
    copied = find_copies([], [image.mark for image in good])
    if copies := [image for image, copy in zip(good, copied, strict=True) if copy]:
        names = and_more([image.sample.path.name for image in copies], 3)
        are = "are copies" if len(copies) > 1 else "is a copy"
        done.notes.append(
            f"{len(copies)} of {len(good)} normal images {are} of others ({names}) and are not "
            "counted."
        )
    return [image for image, copy in zip(good, copied, strict=True) if not copy]


def _check_apart(good: Sequence[_Looked], bad: Sequence[_Looked]) -> None:
    """Raise an InputError if a defect has the pixels of a normal image."""
    known = {image.digest: image.sample.path for image in good}
    if both := [image for image in bad if image.digest in known]:
        first = both[0]
        raise InputError(
            f"{counted(len(both), 'image')} given as normal and as a defect: {first.sample.path} "
            f"shows what {known[first.digest]} shows; remove each from one of the two."
        )


def _defects_on(drawing: SyntheticSet, epochs: int) -> Iterator[Image.Image]:
    """Each normal image with a drawn defect, then each with another one, and so on."""
    for epoch in range(epochs):
        for index in range(len(drawing)):
            yield drawing.item(index, epoch).image
