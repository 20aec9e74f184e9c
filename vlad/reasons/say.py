"""Explanations with words of a vision-language model, beside what the head says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

from PIL import Image

from vlad.reasons.explanation import ExplainedRegion, Explanation
from vlad.reasons.words import percent
from vlad.system.text import shown
from vlad.vlm import VLM, Request
from vlad.vlm.prompts import VlmPrompt, load_prompt
from vlad.vlm.words import SCHEMA, question, words_of

SIDE = 1024  # pixels of the longer side of an image that is sent
REGIONS = 3  # that are shown and named
FRAME = "the frame is drawn by the detector"
AROUND = 0.5  # of the size of a region, shown on each side of it


def say(
    vlm: VLM,
    explanations: Iterable[tuple[Explanation, str | None]],
    total: int,
    *,
    prompt: VlmPrompt | None = None,
    tell: Callable[[str], object] = lambda sentence: None,
) -> Iterator[Explanation]:
    """The explanations with `words`, a batch at a time; nothing else in them changes.

    Args:
        explanations: each with the category that its image shows.
        total: how many there are.
        prompt: with the blanks category, images and facts; None is `explain`.
        tell: is given what the rest will cost, after the first batch of answers.

    Raises:
        VlmError: as `VLM.ask`.
        PromptError: a prompt with other blanks.
    """
    prompt = prompt or load_prompt("explain")
    vlm.expect(total, tell)
    waiting = iter(explanations)
    while batch := list(islice(waiting, vlm.batch)):
        replies = vlm.ask([asked(found, category, prompt) for found, category in batch], SCHEMA)
        for (found, _), reply in zip(batch, replies, strict=True):
            yield replace(found, words=words_of(vlm, reply))


def asked(explanation: Explanation, category: str | None, prompt: VlmPrompt) -> Request:
    """The question about one image: it, its largest regions, and the nearest normal reference."""
    images = [(_limited(explanation.image), "the image to judge")]
    facts = []
    for number, region in enumerate(explanation.regions[:REGIONS], start=1):
        frame = "" if region.crop is None else f"; {FRAME}"
        images.append((_crop(explanation.image, region), f"its region {number}, enlarged{frame}"))
        if region.reference_crop is not None:
            where = "a normal image" if region.reference else "the image to judge"
            what = f"the place in {where} that is most like region {number}; {FRAME}"
            images.append((_limited(region.reference_crop), what))
        share = "" if region.share is None else f", {percent(region.share)} of the score"
        size = percent(region.area)
        facts.append(f"region {number}: {region.place}, {size} of the image{share}")
        facts += [f"region {number}: {_nameless(text, region)}" for text in region.texts]
    facts.append(explanation.note)
    return question(prompt, images, category, facts)


def _nameless(text: str, region: ExplainedRegion) -> str:
    """A reason without the path of the reference image, which is no business of an endpoint."""
    return text.replace(shown(region.reference), "a normal image") if region.reference else text


def _crop(image: Image.Image, region: ExplainedRegion) -> Image.Image:
    """The region with what is around it."""
    if region.crop is not None:
        return _limited(region.crop)
    x, y, width, height = region.box
    box = (
        max(0, round(x - AROUND * width)),
        max(0, round(y - AROUND * height)),
        min(image.width, round(x + (1 + AROUND) * width) + 1),
        min(image.height, round(y + (1 + AROUND) * height) + 1),
    )
    return _limited(image.crop(box))


def _limited(image: Image.Image) -> Image.Image:
    scale = min(1.0, SIDE / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.convert("RGB") if scale == 1 else image.convert("RGB").resize(size)
