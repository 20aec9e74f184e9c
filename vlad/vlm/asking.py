"""What a vision-language model adds to a question about images: its opposite, and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from PIL import Image

from vlad.errors import ImageError, PromptError
from vlad.prompts.question import Asked, with_negation
from vlad.vlm.model import VLM, Reply, Request
from vlad.vlm.prompts import load_prompt

SIDE = 1024  # pixels of the longer side of an image that is shown
ANSWERS = ("yes", "no", "unclear")
NEGATION = {
    "type": "object",
    "properties": {"negation": {"type": "string"}},
    "required": ["negation"],
}
ANSWER = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "enum": list(ANSWERS)},
        "sentence": {"type": "string", "maxLength": 1000},
    },
    "required": ["answer", "sentence"],
}
P = TypeVar("P")


@dataclass(frozen=True)
class Answer:
    """What a model says about one image; the order of the images does not depend on it.

    Attributes:
        model: who says so.
        answer: one of `ANSWERS`, or "" without an answer.
        sentence: what it sees.
        error: why there is no answer, or "".
    """

    model: str
    answer: str = ""
    sentence: str = ""
    error: str = ""

    def as_dict(self) -> dict[str, str]:
        """Itself as JSON holds it."""
        return asdict(self)


def negated(vlm: VLM, asked: Asked) -> tuple[Asked, str]:
    """A question with the model's words for its opposite, and "".

    If the model has none that are of use: the question as it was, and why.

    Raises:
        VlmError: the model cannot be asked.
    """
    (reply,) = vlm.ask([Request((), _text("negation", asked))], NEGATION)
    if reply.data is None:
        return asked, reply.error
    try:
        return with_negation(asked, reply.data["negation"]), ""
    except PromptError as error:
        return asked, str(error)


def answered(
    vlm: VLM,
    asked: Asked,
    images: Sequence[P],
    open_image: Callable[[P], Image.Image],
    tell: Callable[[str], object],
) -> Iterator[tuple[P, Answer]]:
    """The model's answer about each image, in their order, a batch at a time.

    Args:
        open_image: one of the images -> RGB; raises ImageError.
        tell: is given what the rest will cost, after the first batch.

    Raises:
        VlmError: as `VLM.ask`.
    """
    text = _text("answer", asked)
    vlm.expect(len(images), tell)
    for first in range(0, len(images), vlm.batch):
        batch = images[first : first + vlm.batch]
        requests, errors = {}, {}
        for place, image in enumerate(batch):
            try:
                requests[place] = Request((_shown(open_image(image)),), text)
            except ImageError as error:  # it has changed since it was scored
                errors[place] = str(error)
        replies = dict(zip(requests, vlm.ask(list(requests.values()), ANSWER), strict=True))
        for place, image in enumerate(batch):
            wrong = Answer(vlm.name, error=errors.get(place, ""))
            yield image, _answer(vlm, replies[place]) if place in replies else wrong


def _text(prompt: str, asked: Asked) -> str:
    return load_prompt(prompt).fill(category=asked.thing, question=asked.question)


def _answer(vlm: VLM, reply: Reply) -> Answer:
    if reply.data is None:
        return Answer(vlm.name, error=reply.error or "no answer: the model wrote nothing")
    return Answer(vlm.name, reply.data["answer"], reply.data["sentence"])


def _shown(image: Image.Image) -> Image.Image:
    shown = image.convert("RGB")
    shown.thumbnail((SIDE, SIDE))
    return shown
