"""Motion beside appearance: a head of its own that scores how each frame changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

from vlad.backbones.backbone import Backbone
from vlad.errors import InputError
from vlad.heads import Head, load_head
from vlad.results.eventrules import EventRules
from vlad.results.eventtable import Series
from vlad.results.folder import RunFolder
from vlad.results.shared import shared_settings
from vlad.runs.frames import FOLDER, Frames
from vlad.runs.settings import Settings, prepare, run_folder, scores_depend_on
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Scored, score_samples
from vlad.time import COMBINED, Event
from vlad.time.combined import scaled
from vlad.types import Sample

MOTION = "motion"  # name of the column


@dataclass(frozen=True)
class Motion:
    """A head for changes, and the changes in normal footage that it compares with.

    Attributes:
        head: not fitted.
        references: images of changes (`vlad.runs.changes.write_changes`).
    """

    head: Head
    references: Sequence[Sample]

    def panel(self, backbone: Backbone, settings: Settings) -> tuple[Panel, dict[str, object]]:
        """What scores changes, and the settings that these scores depend on.

        Args:
            settings: of the run.

        Raises:
            VladError: as `vlad.runs.settings.prepare`.
        """
        own = replace(settings, references=self.references, pool=(), known=(), learned={})
        categories = [settings.category]
        panel = prepare(backbone, {MOTION: self.head}, categories, own)
        return panel, shared_settings(scores_depend_on(panel, own, categories))


def head_beside(heads: Mapping[str, Head]) -> Head:
    """A head for changes: of the kind of the first of these that needs normal images, or `memory`.

    Raises:
        InputError: a head has the name of a column that comes with motion.
    """
    if taken := {MOTION, COMBINED} & heads.keys():
        raise InputError(
            f"a head is named {min(taken)}, as a column of scores with motion is; rename it."
        )
    head = next((head for head in heads.values() if head.normals == "needed"), None)
    return load_head("memory") if head is None else deepcopy(head)


def columns_of(heads: Collection[str], motion: bool) -> list[str]:
    """The columns of scores that may have thresholds of events."""
    return [*heads, *([MOTION, COMBINED] if motion else [])]


def with_motion(
    panel: Panel, batch: Sequence[Scored[Sample]], frames: Frames, batch_size: int
) -> list[Scored[Sample]]:
    """The same frames, with the scores of their changes beside those of their appearance."""
    seen = [one.sample for one in batch if one.error is None]
    parts = score_samples(panel, seen, batch_size=batch_size, open_image=frames.change)
    moved = {one.sample.path: one for part in parts for one in part}
    return [
        one
        if (own := moved.get(one.sample.path)) is None
        else replace(
            one,
            scores={**one.scores, **own.scores},
            maps={**one.maps, **own.maps},
            failure=own.failure,
        )
        for one in batch
    ]


def folder_of(panel: Panel, moving: Panel | None, settings: Settings, out: Path) -> RunFolder:
    """The folder of a run over video with these panels; nothing is written yet."""
    heads = moving.heads if moving else {}
    return run_folder(panel, [settings.category], out / FOLDER, settings, out, heads)


def leading(one: Series, column: str, event: Event, rules: EventRules) -> str:
    """The head whose regions an event has: of combined scores the one that is highest there."""
    if column != COMBINED:
        return column
    there = {head: values[event.peak : event.peak + 1] for head, values in one.scores.items()}
    above = scaled(there, rules.scales)
    return max(above, key=lambda head: above[head][0])
