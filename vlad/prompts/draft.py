"""What of drafted states is fit for a prompt bank, and why the rest is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vlad.prompts import MAX_PHRASE, SIDES
from vlad.prompts.categories import fold
from vlad.prompts.polarity import polarity

_MARKER = re.compile(r"^(?:[-*•]|\d{1,2}[.)])\s+")  # of a line in a list
_CAPTION = re.compile(
    r"^(?:an? |the )?(?:close-up )?(?:photo|image|picture)(?:graph)? of (?=\S)", re.IGNORECASE
)
_ARTICLE = re.compile(r"^(?:an?|the)\s+(?=\S)", re.IGNORECASE)


@dataclass(frozen=True)
class Dropped:
    """A phrase that is left out of a bank.

    Attributes:
        side: "normal" or "anomalous".
        phrase: as it was drafted.
        why: the reason, to follow the phrase in a sentence.
    """

    side: str
    phrase: str
    why: str


@dataclass(frozen=True)
class Draft:
    """States with `{}` for the category, in the order in which they were drafted."""

    normal: tuple[str, ...]
    anomalous: tuple[str, ...]
    dropped: tuple[Dropped, ...]


def sift(phrases: Mapping[str, Sequence[str]], category: str, cut: Callable[[str], bool]) -> Draft:
    """Make states of phrases that name a category, and drop those that are of no use.

    A phrase is dropped if it is empty, has braces or control characters, does not name the
    category just once, is longer than the text encoder reads, repeats another of its side, stands
    on both sides, or calls the object sound on the anomalous side or faulty on the normal one.

    Args:
        phrases: "normal" and "anomalous" -> phrases, from a model or a person.
        cut: state -> whether a sentence with it is longer than the text encoder reads.
    """
    states = {side: {} for side in SIDES}  # type: dict[str, dict[str, str]]
    dropped = []
    for side in SIDES:
        for phrase in phrases[side]:
            state = _state(phrase, category)
            why = next(_faults(state, side, category, cut), "")
            if not why and fold(state) in states[side]:
                why = "repeats another"
            if why:
                dropped.append(Dropped(side, phrase, why))
            else:
                states[side][fold(state)] = state
    both = states["normal"].keys() & states["anomalous"].keys()
    for side in SIDES:
        dropped += [
            Dropped(side, state.replace("{}", category), "stands on both sides")
            for key, state in states[side].items()
            if key in both
        ]
    normal, anomalous = (
        tuple(state for key, state in states[side].items() if key not in both) for side in SIDES
    )
    return Draft(normal, anomalous, tuple(dropped))


def _state(phrase: str, category: str) -> str:
    """A phrase with `{}` in place of the category, without what templates or lists add to it."""
    said = _MARKER.sub("", " ".join(phrase.split())).strip(" .,;:!?\"'")
    said = _CAPTION.sub("", said)
    words = r"[\s_-]+".join(map(re.escape, fold(category).split()))
    # scripts without spaces have no ends of words
    named = rf"(?<![A-Za-z0-9]){words}(?:e?s)?(?![A-Za-z0-9])"
    return _ARTICLE.sub("", re.sub(named, "{}", said, flags=re.IGNORECASE), count=1)


def _faults(state: str, side: str, category: str, cut: Callable[[str], bool]) -> Iterator[str]:
    """Why a state is of no use, the first reason first."""
    if not any(c.isalnum() for c in state.replace("{}", category)):
        yield "is empty"
    if set(state.replace("{}", "")) & set("{}") or not state.isprintable():
        yield "has a brace or a control character"
    if state.count("{}") != 1:
        yield (
            f"does not name the {category}" if "{}" not in state else f"names the {category} twice"
        )
    if len(state) > MAX_PHRASE or cut(state):
        yield "is too long for the text encoder"
    if side == "anomalous" and state == "{}":
        yield "names no defect"
    said = polarity(state)
    if said < 0 and side == "normal":
        yield "calls it faulty"
    if said > 0 and side == "anomalous":
        yield "calls it sound"
