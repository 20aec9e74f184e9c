"""What the head vlm asks about an image, and how it reads the answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch

from vlad.errors import HeadError
from vlad.heads.rules import Rule, list_of, number
from vlad.maths.overlapping import half_overlapping
from vlad.system.text import counted
from vlad.vlm import VLM, Request, load_vlm
from vlad.vlm.context import as_image
from vlad.vlm.http import host_of
from vlad.vlm.prompts import VlmPrompt, load_prompt

CHOICES = ("Yes", "No")
QUESTIONS = {"probability": "yes_no", "confidence": "confidence"}
KEYWORD_QUESTIONS = {"probability": "keyword", "confidence": "keyword_confidence"}
BLANKS = ("noun", "references", "window")
WINDOW = "The image is a part of a larger one, cut out of it, which is no defect. "
TEXT = Rule(
    lambda value: isinstance(value, str) and value.isprintable() and bool(value.strip()),
    "a text of one line",
)
KEYWORDS = Rule(
    lambda value: TEXT.holds(value) or list_of(TEXT, "").holds(value),
    "a text of one line, or a list of some",
)
WINDOWS = Rule(
    lambda value: type(value) is int and (value == 0 or 2 <= value <= 8),
    "0 or a whole number from 2 to 8",
)
_THREE = list_of(number(0, 1e6, ""), "", least=3)
WEIGHTS = Rule(
    lambda value: _THREE.holds(value) and len(value) == 3 and sum(value) > 0,
    "three numbers from 0 on, not all 0",
)
UNTOLD = (
    "no answer: the model tells no probability of Yes or No; set vlm.answer to confidence if that "
    "is so for every image"
)
SCHEMA = {
    "type": "object",
    "properties": {
        "anomalous": {"type": "boolean"},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "required": ["anomalous", "confidence"],
    "additionalProperties": False,
}


def prompt_of(question: str | None, answer: str, keywords: bool) -> VlmPrompt:
    """The prompt of a name or file; None is that of the kind of answer.

    Args:
        keywords: whether the noun is a keyword.

    Raises:
        HeadError: a blank that the head cannot fill, or none for the keyword.
        PromptError: as `vlad.vlm.prompts.load_prompt`.
    """
    prompt = load_prompt(question or (KEYWORD_QUESTIONS if keywords else QUESTIONS)[answer])
    if keywords and "noun" not in prompt.blanks:
        raise HeadError(
            f"The question {prompt.name} has no blank for a keyword; add {{noun}} to it, or leave "
            "vlm.keywords out."
        )
    if odd := sorted(set(prompt.blanks) - set(BLANKS)):
        raise HeadError(
            f"The question {prompt.name} has the blank {odd[0]}, which head vlm cannot fill; use "
            f"{', '.join(BLANKS)}."
        )
    return prompt


def requests_about(
    prompt: VlmPrompt,
    nouns: Sequence[str],
    normals: Sequence[torch.Tensor],
    pixels: torch.Tensor,
    windows: int,
) -> Iterator[Request]:
    """The questions about an image and its n × n windows, for each noun.

    Args:
        nouns: what the image is, or might show.
        normals: normal images; a window is shown beside the same window of each.
        pixels: (3, h, w) from 0 to 1, as each normal image is, of any size.
    """
    references = ""
    if normals:
        references = (
            f"First, {counted(len(normals), 'normal image')} to compare with; the question is "
            "about the last image alone. "
        )
    cuts = [_cut(x, windows) for x in (*normals, pixels)]
    shown = [tuple(map(as_image, images)) for images in zip(*cuts, strict=True)]
    for noun in nouns:
        for place, images in enumerate(shown):
            yield Request(images, filled(prompt, noun, references, WINDOW if place else ""))


def filled(prompt: VlmPrompt, noun: str, references: str = "", window: str = "") -> str:
    """A prompt with those of these values that it has a blank for."""
    values = dict(zip(BLANKS, (noun, references, window), strict=True))
    return prompt.fill(**{name: values[name] for name in prompt.blanks})


def check_model(model: str | None, name: str | None) -> None:
    """Check what the head's parameters say of its model, before it is loaded.

    Raises:
        HeadError: no model, or an endpoint without the name of one.
        VlmError: an address that cannot be used.
    """
    if model is None:
        raise HeadError(
            "Head vlm asks a vision-language model; set vlm.model to the name or folder of one, or "
            "to the address of an endpoint."
        )
    if ("://" in model) != (name is not None):
        raise HeadError(
            f"Head vlm has the model {model} and the model_name {name}; set vlm.model_name for an "
            "endpoint, and for nothing else."
        )
    if "://" in model:
        host_of(model)


@cache
def loaded(model: str, name: str | None, device: str) -> VLM:
    """The model, loaded once for all heads that ask it."""
    return load_vlm(model, name=name, device=device)


def answers(vlm: VLM, requests: Sequence[Request], answer: str) -> list[tuple[float, str]]:
    """A score from 0 to 1 and "", or NaN and why there is none, for each request.

    Raises:
        VlmError: as `VLM.ask`.
    """
    if answer == "confidence":
        replies = vlm.ask(requests, SCHEMA)
        return [(_signed(x.data) if x.data else torch.nan, x.error) for x in replies]
    choices = vlm.choose(requests, CHOICES)
    return [
        (x.probabilities[0], "") if x.probabilities else (torch.nan, x.error or UNTOLD)
        for x in choices
    ]


def _signed(data: Mapping[str, Any]) -> float:
    """A verdict and its confidence as one score: 0.5 is a guess."""
    half = data["confidence"] / 2
    return 0.5 + half if data["anomalous"] else 0.5 - half


def _cut(pixels: torch.Tensor, count: int) -> list[torch.Tensor]:
    """An image and its windows; one that is too small for them stands in their place."""
    small = min(pixels.shape[1:]) <= count
    cut = [pixels] * count**2 if small else half_overlapping(pixels, count) if count else ()
    return [pixels, *cut]
