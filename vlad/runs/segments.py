"""Frames of a video that get the scores of the segments that they are in.

Head vlm with keywords: AnyAnomaly's segments of 16 frames (`vlad.runs.contexts`).

Head flashback: segments of 1 s that overlap by half. A segment's embedding is the mean of those of
its frames, each of unit length, and a frame gets the mean score of the segments that cover it. A
segment is two neighbouring half seconds that have frames; a half second without such a neighbour is
one alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

import torch
import torch.nn.functional as F

from vlad.errors import HeadError
from vlad.heads.flashback import Flashback
from vlad.heads.vlm import Vlm
from vlad.results.folder import RunFolder
from vlad.runs.contexts import CALLS, by_contexts
from vlad.runs.frames import Frames
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Scored, score_samples
from vlad.system.text import counted
from vlad.system.torch_state import own_state
from vlad.types import Features, Sample, TextFeatures
from vlad.vlm.context import SEGMENT

HALF = 0.5  # seconds


def check_segments(panel: Panel) -> str:
    """What is asked about a segment, as a sentence.

    Raises:
        HeadError: not one head that scores segments, one with normal images, or a backbone without
            the text encoder that it needs; tiles or a region of interest.
    """
    heads = list(panel.heads.values())
    if len(heads) > 1 or not isinstance(heads[0], Flashback | Vlm):
        raise HeadError(
            f"Segments are scored by one head, flashback or vlm, not by {', '.join(panel.heads)}; "
            "choose one of them, or score frames."
        )
    if panel.tiling.tile is not None or panel.inside.region:
        raise HeadError("Segments are of whole frames; leave out `tile` and `roi`.")
    head = heads[0]
    if isinstance(head, Flashback):
        return "Segments of 1 s that overlap by half: a frame gets the mean of those it is in."
    if not head.keywords:
        raise HeadError(
            "Head vlm asks of a segment whether it shows a keyword; set vlm.keywords, or score "
            "frames."
        )
    if head.memory_:
        raise HeadError("Head vlm compares no segment with normal images; leave them out.")
    if not panel.backbone.info.has_text:
        raise HeadError(
            f"Segments are compared with the keywords, but {panel.backbone.info.name} has no text "
            "encoder; choose a CLIP or SigLIP backbone."
        )
    questions = counted(CALLS * len(head.nouns), "question")
    return f"Segments of {SEGMENT} frames: head vlm asks {questions} about each."


def score_segments(
    panel: Panel, folder: RunFolder, frames: Frames, batch_size: int
) -> Iterator[list[Scored[Sample]]]:
    """The frames that have no row yet, with the scores of their segments, in order.

    Args:
        panel: one that `check_segments` has checked.

    Raises:
        InputError: as `Frames.look`.
        VlmError, BackboneError: as `vlad.heads.vlm.Vlm.score`.
    """
    (head,) = panel.heads.values()
    if isinstance(head, Vlm):
        found = by_contexts(panel, frames, _left(frames, folder.rows, _place, 0))
    else:
        found = Overlapping(panel).score(
            frames, _left(frames, folder.rows, _half_second, 1), batch_size
        )
    for batch in found:
        if new := [one for one in batch if str(one.sample.path) not in folder.rows]:
            yield new


def _place(number: int, seconds: float) -> int:
    return number // SEGMENT


def _half_second(number: int, seconds: float) -> int:
    return int(round(seconds / HALF, 6))  # stamps are rounded too


def _left(
    frames: Frames, rows: Collection[str], group: Callable[[int, float], int], before: int
) -> Iterator[tuple[int, Sample]]:
    """(group, frame), from the first group with a frame that has no row.

    Args:
        group: place among the frames that are due, and seconds -> number of its group.
        before: groups ahead of that one that are given too.
    """
    waiting: deque[tuple[int, Sample]] = deque()
    begun = False
    for place, sample in enumerate(frames.look()):
        number = group(place, frames.seconds(sample))
        waiting.append((number, sample))
        begun = begun or str(sample.path) not in rows
        while waiting[0][0] < number - before:
            frames.leave(waiting.popleft()[1])
        if begun:
            yield from waiting
            waiting.clear()
    for _, sample in waiting:
        frames.leave(sample)


@dataclass
class _Half:
    """The frames of half a second, and the sum of the embeddings of those that can be used."""

    number: int
    frames: list[Scored[Sample]] = field(default_factory=list)
    total: torch.Tensor | float = 0.0
    count: int = 0


class Overlapping:
    """Scores frames by segments that overlap by half, as the module says.

    Args:
        panel: with one head that reads the image embedding.
    """

    def __init__(self, panel: Panel):
        ((self.name, self.head),) = panel.heads.items()
        self.panel = panel.heard_by(self._hear)
        self._embedded: deque[torch.Tensor] = deque()

    def score(
        self, frames: Frames, groups: Iterator[tuple[int, Sample]], batch_size: int
    ) -> Iterator[list[Scored[Sample]]]:
        """The frames, a half second at a time.

        Args:
            groups: (half second, frame).
        """
        now: _Half | None = None
        first: float | None = None  # score of the segment that ends with `now`
        for after in chain(self._halves(frames, groups, batch_size), [None]):
            second = None
            if now and now.count:
                if after and after.count and after.number == now.number + 1:
                    second = self._of(now, after)
                own = [x for x in (first, second) if x is not None] or [self._of(now)]
                scores = {self.name: sum(own) / len(own)}
                now.frames = [x if x.failure else replace(x, scores=scores) for x in now.frames]
            if now:
                yield now.frames
            now, first = after, second

    def _hear(self, features: Features, text: TextFeatures | None) -> None:
        assert features.image is not None  # flashback asks for it
        self._like, self._text = features, text
        self._embedded.extend(F.normalize(features.image, dim=-1))

    def _halves(
        self, frames: Frames, groups: Iterator[tuple[int, Sample]], batch_size: int
    ) -> Iterator[_Half]:
        numbers: deque[int] = deque()

        def samples() -> Iterator[Sample]:
            for number, sample in groups:
                numbers.append(number)
                yield sample

        now: _Half | None = None
        for batch in score_samples(self.panel, samples(), batch_size=batch_size, open_image=frames):
            for scored in batch:
                number = numbers.popleft()
                if now and now.number != number:
                    yield now
                    now = None
                now = now or _Half(number)
                now.frames.append(scored)
                embedding = self._embedded.popleft() if scored.size else None  # it was read
                if embedding is not None and not scored.failure:
                    now.total, now.count = now.total + embedding, now.count + 1
        if now:
            yield now

    @own_state()
    @torch.no_grad()
    def _of(self, *halves: _Half) -> float:
        """The score of a segment."""
        total = sum(half.total for half in halves)
        assert isinstance(total, torch.Tensor)  # each has a frame
        mean = total[None] / sum(half.count for half in halves)
        return float(self.head.score(replace(self._like, image=mean), self._text).image_score)
