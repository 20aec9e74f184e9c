"""Multiple-choice questions put to a vision-language model."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from string import ascii_uppercase
from zlib import crc32

from PIL import Image

from vlad.datasets.questions import Question
from vlad.errors import ImageError
from vlad.system.text import counted, encode
from vlad.vlm import VLM, Choice, Request
from vlad.vlm.prompts import VlmPrompt

LONGEST = 1024  # pixels a side of what the model is shown, at most
TOGETHER = 32  # questions whose images are in memory at once
# "B", "(b)", "B. a scratch", "Answer: B", "The correct option is B."; not "A scratch"
_LETTER = re.compile(
    r"(?:the\s+)?(?:(?:correct|right|best)\s+)?(?:answer|option)?(?:\s+is)?\s*:?\s*(?:option\s+)?"
    r"\(?([A-Z])\s*(?:$|[.):,\n])",
    re.IGNORECASE | re.ASCII,
)
_MARKS = str.maketrans("", "", '*`"')  # of emphasis and quotation


@dataclass(frozen=True)
class Answered:
    """A question and what became of it.

    Attributes:
        question: the question.
        order: the places of its options, in the order in which they were shown.
        chosen: place of the option that was chosen, None for no answer.
        said: what the model wrote, or the letter that it finds likeliest.
        error: why there is no answer, or "".
        unread: why the question was not asked: its image cannot be read; or "".
    """

    question: Question
    order: tuple[int, ...]
    chosen: int | None = None
    said: str = ""
    error: str = ""
    unread: str = ""

    @property
    def right(self) -> bool:
        """True if the right option was chosen."""
        return self.chosen == self.question.answer

    def letter(self, place: int | None) -> str:
        """The letter that an option was shown with, "" for None."""
        return "" if place is None else ascii_uppercase[self.order.index(place)]


def ask_questions(
    vlm: VLM,
    questions: Iterable[Question],
    folder: Path,
    prompt: VlmPrompt,
    open_image: Callable[[Path], Image.Image],
    *,
    shots: int = 0,
    seed: int | None = 0,
) -> Iterator[list[Answered]]:
    """Ask question by question, each on its own; answers come in order, some at a time.

    Args:
        folder: of the images.
        prompt: with the blanks references, question and options.
        open_image: path -> RGB image; raises ImageError.
        shots: normal images that are shown first, at most.
        seed: of the order of the options; None is that of the file.

    Raises:
        VlmError: as `VLM.choose`.
    """
    waiting = iter(questions)
    while part := list(islice(waiting, TOGETHER)):
        opened: dict[str, Image.Image | ImageError] = {}
        for name in dict.fromkeys(x for q in part for x in (q.image, *q.references[:shots])):
            try:
                image = open_image(folder / name)
                image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
                opened[name] = image
            except ImageError as error:
                opened[name] = error
        found: dict[int, Answered] = {}
        asked: dict[int, dict[int, Request]] = {}  # number of options -> place -> request
        for place, question in enumerate(part):
            order = order_of(question, seed)
            shown = [opened[name] for name in (*question.references[:shots], question.image)]
            images = tuple(image for image in shown if isinstance(image, Image.Image))
            found[place] = Answered(question, order)
            if len(images) < len(shown):
                unread = next(str(x) for x in shown if isinstance(x, ImageError))
                found[place] = Answered(question, order, unread=unread)
                continue
            request = Request(images, _text(prompt, question, order, len(images) - 1))
            asked.setdefault(len(order), {})[place] = request
        for count, requests in asked.items():
            choices = vlm.choose(list(requests.values()), ascii_uppercase[:count])
            for place, choice in zip(requests, choices, strict=True):
                found[place] = _answered(found[place], choice)
        yield [found[place] for place in range(len(part))]


def order_of(question: Question, seed: int | None) -> tuple[int, ...]:
    """The places of a question's options as they are shown, whatever is asked before it."""
    places = list(range(len(question.options)))
    if seed is not None:
        own = crc32(encode(f"{seed} {question.image} {question.text}"))
        random.Random(own).shuffle(places)
    return tuple(places)


def _text(prompt: VlmPrompt, question: Question, order: Sequence[int], shots: int) -> str:
    references = ""
    if shots:
        references = (
            f"First, {counted(shots, 'normal image')} to compare with; the question is about the "
            "last image alone. "
        )
    options = "\n".join(
        f"{letter}. {question.options[place]}"
        for letter, place in zip(ascii_uppercase, order, strict=False)
    )
    values = {"references": references, "question": question.text, "options": options}
    return prompt.fill(**values)


def _answered(asked: Answered, choice: Choice) -> Answered:
    if choice.error:
        return Answered(asked.question, asked.order, None, choice.text, choice.error)
    if choice.probabilities:
        likeliest = max(range(len(asked.order)), key=choice.probabilities.__getitem__)
        return Answered(asked.question, asked.order, asked.order[likeliest], choice.text)
    place = read_answer(choice.text, [asked.question.options[i] for i in asked.order])
    if place is None:
        why = "no answer: it names no option"
        return Answered(asked.question, asked.order, None, choice.text, why)
    return Answered(asked.question, asked.order, asked.order[place], choice.text)


def read_answer(text: str, options: Sequence[str]) -> int | None:
    """The place of the option that a text names by its letter or by its words; None for none."""
    plain = text.translate(_MARKS).strip()
    letters = ascii_uppercase[: len(options)]
    alone = plain.strip("(). ").upper()
    if alone and alone in letters and len(alone) == 1:  # whatever letters are options themselves
        return letters.index(alone)
    words = plain.casefold().rstrip(".")
    for place, option in enumerate(options):
        if words == option.translate(_MARKS).strip().casefold().rstrip("."):
            return place
    found = _LETTER.match(plain)
    place = ascii_uppercase.index(found[1].upper()) if found else len(options)
    return place if place < len(options) else None
