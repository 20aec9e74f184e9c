"""AnyAnomaly's segments of 16 frames, about which the head vlm asks its model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter

import torch
from PIL import Image

from vlad.errors import ImageError
from vlad.heads.vlm import LONGEST, Vlm
from vlad.heads.vlm_segments import SAID, Context, score_segments
from vlad.runs.frames import Frames
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Scored
from vlad.system.torch_state import own_state
from vlad.types import Sample
from vlad.vlm.context import SEGMENT, Similar, context_images, similar_to

CALLS = len(SAID)  # of the model, about a segment and a keyword
AT_ONCE = 4  # segments whose questions are asked together


def by_contexts(
    panel: Panel, frames: Frames, groups: Iterator[tuple[int, Sample]]
) -> Iterator[list[Scored[Sample]]]:
    """The frames, some segments at a time, each with the score of its segment.

    A segment without a whole number of frames, at the end or where some cannot be read, is filled
    up with its last one. If an answer is missing, none of its frames has a score.

    Args:
        panel: with the head vlm alone.
        groups: (segment, frame).

    Raises:
        VlmError, BackboneError: as `Vlm.score`.
    """
    ((name, head),) = panel.heads.items()
    assert isinstance(head, Vlm)  # `check_segments` refuses others
    if due := frames.due():
        head.expect(-(-due // SEGMENT) - frames.done // SEGMENT, frames.say, CALLS)
    similar = [similar_to(keyword, panel.backbone) for keyword in head.nouns]
    segments = ([sample for _, sample in one] for _, one in groupby(groups, itemgetter(0)))
    while some := list(islice(segments, AT_ONCE)):
        found: list[list[Scored[Sample]]] = []
        asked: list[list[Context]] = []
        for segment in some:
            read = [_read(frames, sample) for sample in segment]
            found.append([scored for scored, _ in read])
            if images := [image for _, image in read if image]:
                asked.append(_contexts(images, similar))
        replies = iter(score_segments(head, asked, str(panel.backbone.device)))
        batch = []
        for scored in found:
            usable = any(not one.failure for one in scored)
            score, why = next(replies) if usable else (0.0, "")
            batch += [one if one.failure else _scored(one, name, score, why) for one in scored]
        yield batch


def _read(frames: Frames, sample: Sample) -> tuple[Scored[Sample], Image.Image | None]:
    """A frame without its score, and its image; None if it has none."""
    try:
        image = frames(sample.path)
    except ImageError as error:
        return Scored(sample, None, failure=error), None
    size = image.size
    image.thumbnail((LONGEST, LONGEST))
    return Scored(sample, size), image


@own_state()
@torch.no_grad()
def _contexts(images: Sequence[Image.Image], similar: Sequence[Similar]) -> list[Context]:
    """What the model is shown of a segment, for each keyword.

    Args:
        images: at most 16; those of another size than the first are brought to it.
    """
    size = images[0].size
    whole = [image if image.size == size else image.resize(size) for image in images]
    whole += whole[-1:] * (SEGMENT - len(whole))
    return [context_images(whole, one) for one in similar]


def _scored(one: Scored[Sample], name: str, score: float, why: str) -> Scored[Sample]:
    if why:
        return Scored(
            one.sample,
            one.size,
            failure=ImageError(
                f"{one.sample.path}: no score of {name} ({why}); score it again, or leave {name} "
                "out."
            ),
        )
    return Scored(one.sample, one.size, {name: score})
