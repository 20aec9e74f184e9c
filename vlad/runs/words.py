"""Words of a vision-language model about the images that a run explains."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from vlad.errors import VlmError
from vlad.reasons import Explanation, say
from vlad.vlm import VLM
from vlad.vlm.words import Words


def spoken(
    vlm: VLM | None,
    explanations: Iterator[tuple[Explanation, str | None]],
    total: int,
    tell: Callable[[str], object],
) -> Iterator[Explanation]:
    """The explanations, with `words` if there is a model to ask.

    A run is worth its report without words: once the model cannot be asked any more, those that are
    left say so in theirs.

    Args:
        explanations, total, tell: as of `vlad.reasons.say`.
    """
    if vlm is None:
        yield from (one for one, _ in explanations)
        return
    asked: deque[Explanation] = deque()

    def given() -> Iterator[tuple[Explanation, str | None]]:
        for one, category in explanations:
            asked.append(one)
            yield one, category

    try:
        for one in say(vlm, given(), total, tell=tell):
            asked.popleft()
            yield one
    except VlmError as error:
        words = Words(vlm.name, error=f"no answer: {error}")
        for one in asked:
            yield replace(one, words=words)
        for one, _ in explanations:
            yield replace(one, words=words)
