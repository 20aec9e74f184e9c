"""A question about images as sentences for and against it, by plain rules for English.

Words that ask are removed from the front, words that add nothing from the end. What is left is a
state ("scratched") or a thing ("scratches near the rim"); a negation of it swaps the sides. A
negation or a question word elsewhere is refused, since the order might come out the wrong way
round. Text of other kinds, or in another language, is taken for the name of a thing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache

from vlad.errors import PromptError
from vlad.prompts import PromptBank, Wording, load_bank
from vlad.prompts.categories import check_category
from vlad.prompts.polarity import is_state
from vlad.prompts.written import bank_text
from vlad.system.text import shown

MAX_LENGTH = 200  # characters of a question; CLIP reads 77 tokens
THING = "object"  # what images show, if nobody says it
TEMPLATES = "winclip"  # the bank whose templates surround both sides

_NOUNS = ["images?", "photos?", "pictures?", "parts?", "pieces?", "objects?", "items?", "ones?"]
_NEGATION = re.compile(r"(?:no|not|without|free of|never)\s+(?=\S)", re.IGNORECASE)
_FREE = re.compile(r"(?<=\S)[ -]free$", re.IGNORECASE)  # "dust-free"
_SHORT = re.compile(r"(?<=\w)n['’]t\b", re.IGNORECASE)
_COPULA = re.compile(r"(?: (?:is|are|was|were))?( not)? (\S+)$", re.IGNORECASE)
# what turns a question round, or asks for more than whether
_LEFT = re.compile(
    r"(?<!\S)(?:no|not|none|nothing|nobody|neither|nor|never|without|lacks?|lacking)(?!\S)"
    r"|^(?:which|what|where|why|how|who|when|do|does|did|can|could|would|should)(?!\S)",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"^(?:the|its|their|this|these|those|an?|any|some)\s+", re.IGNORECASE)
_ADVERB = re.compile(r"\w+ly|very|too|badly|and|or|,", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """What was made of a question.

    Attributes:
        question: as it was asked.
        phrase: the thing or state that it is about.
        thing: what the images show.
        found: states, with `{}` for the thing, of an image that it is true of.
        otherwise: states of all others.
    """

    question: str
    phrase: str
    thing: str
    found: tuple[str, ...]
    otherwise: tuple[str, ...]

    def said(self, states: tuple[str, ...]) -> list[str]:
        """States in words."""
        return [state.replace("{}", self.thing) for state in states]

    def about(self, word: str) -> Asked:
        """The same question about something else."""
        whole = rf"(?<!\w){re.escape(self.phrase)}(?!\w)"
        found, otherwise = (
            tuple(re.sub(whole, lambda _: word, state) for state in side)
            for side in (self.found, self.otherwise)
        )
        return replace(self, phrase=word, found=found, otherwise=otherwise)

    @property
    def bank(self) -> PromptBank:
        """Its prompt bank: what the question asks for is the anomalous side."""
        templates = load_bank(TEMPLATES).wording.templates["normal"]
        title = f"Question: {self.question}"
        source = "vlad ask"
        licence = "none stated"
        text = bank_text(
            title, source, licence, templates, self.otherwise, self.found, noun=self.thing
        )
        sides = {"normal": templates, "anomalous": templates}
        return PromptBank(
            name="question",
            title=title,
            source=source,
            licence=licence,
            description="",
            wording=Wording(self.otherwise, self.found, sides),
            order="state-major",
            names="verbatim",
            noun=self.thing,
            replace={},
            synonyms={},
            categories=(),
            overrides=(),
            faults=None,
            content=text.encode(),
        )


def read_question(question: str, category: str | None = None, negation: str = "") -> Asked:
    """The sentences for and against a question.

    Args:
        category: what the images show; None is any object.
        negation: what is true where the question is not, in words, in place of "without" or "not"
            and the plain object.

    Raises:
        PromptError: a question or negation that names nothing, is not understood, has braces or
            control characters, or is longer than 200 characters; or an invalid category.
    """
    thing = check_category(category or THING)
    phrase, negated = _stripped(_checked(question, "question"), thing)
    yes, no = _sides(phrase)
    found, otherwise = (no, yes) if negated else (yes, no)
    asked = Asked(" ".join(question.split()), phrase, thing, found, otherwise)
    return with_negation(asked, negation) if negation else asked


def with_negation(asked: Asked, negation: str) -> Asked:
    """The same with other words for what is true where the question is not.

    Raises:
        PromptError: as `read_question`, or words that say the same as the question.
    """
    phrase, negated = _stripped(_checked(negation, "negation"), asked.thing)
    otherwise = _sides(phrase)[negated]
    otherwise = otherwise[:1]  # the plain object is of use only beside a mere "not"
    if otherwise[0] in asked.found:
        raise PromptError(
            f"The negation {shown(repr(negation))} says the same as the question; give words for "
            "what is true where the question is not."
        )
    return replace(asked, otherwise=otherwise)


def _checked(text: str, what: str) -> str:
    said = " ".join(text.split())
    if not any(c.isalnum() for c in said):
        problem = "has no letter or digit"
    elif set(said) & set("{}") or not said.isprintable():
        problem = "has a brace or a control character"
    elif len(said) > MAX_LENGTH:
        problem = f"is longer than {MAX_LENGTH} characters"
    else:
        return said
    raise PromptError(
        f"The {what} {shown(repr(said[:MAX_LENGTH]))} {problem}; write it in plain words, such as "
        "scratches near the rim."
    )


def _stripped(said: str, thing: str) -> tuple[str, bool]:
    """The thing or state that a question is about, and whether it is negated."""
    asking, ending = _patterns(thing)
    rest, negated, before = _bare(_SHORT.sub(" not", said)), False, ""
    while rest != before:
        before = rest
        for pattern in asking:
            rest = pattern.sub("", rest, count=1)
        if found := _NEGATION.match(rest):
            rest, negated = rest[found.end() :], not negated
        rest = _bare(ending.sub("", rest))
    found = _COPULA.search(rest)
    if found and is_state(found[2]):  # "the cap is not closed"
        rest, negated = f"{rest[: found.start()]} {found[2]}", negated != bool(found[1])
    free = _FREE.search(rest)
    if free:
        rest, negated = rest[: free.start()], not negated
    phrase = _reordered(rest, thing)
    if not any(c.isalnum() for c in phrase):
        raise PromptError(
            f"{shown(repr(said))} names nothing to look for; say what, such as scratches near the "
            "rim."
        )
    if left := _LEFT.search(rest) or _LEFT.search(phrase):
        raise PromptError(
            f"What {shown(repr(left[0]))} does in {shown(repr(said))} is not understood; write a "
            "few words about one thing, such as no label."
        )
    return phrase, negated


@cache
def _patterns(thing: str) -> tuple[list[re.Pattern[str]], re.Pattern[str]]:
    """What asks at the front of a question, in the order in which it is tried; what ends one."""
    noun = rf"(?:{'|'.join(_NOUNS)}|{re.escape(thing)}s?)"
    any_one = r"(?:any|some|every)thing"
    it = rf"(?:it|they|(?:the|these|those|this|that|any|some|all)(?: {noun})?|{any_one})"
    them = rf"of (?:it|them|these|those|(?:the|these|those) {noun})"
    of = rf"(?: {them})?"
    verb = r"(?:shows?|ha(?:s|ve)|contains?)"
    has = rf"(?:{verb}|are|is|do(?:es)?(?= not ))"
    asking = (
        r"please",
        r"(?:is|are|was|were)(?: not)? there",
        r"(?:do|can|could) (?:you|we|i) (?:see|find|spot|notice)",
        rf"(?:do|does)(?: not)? {it}{of}(?: {verb}|(?= not ))",
        rf"(?:has|have) {it}{of}(?: got| been)?",
        r"(?:can you |could you )?(?:please )?(?:show|find|give|list)(?: me)?(?: all)?(?: the)?",
        rf"(?:which|what|any|all)(?: {noun})?{of} {has}",
        rf"(?:{noun}{of}|{any_one}|those) (?:with(?!out)|showing|where|(?:that|which) {has})",
        rf"{noun}(?= (?:without|no|not|free)\b)",
        r"(?:what|how) about",
        rf"(?:is|are) not {it}{of}",
        rf"(?:is|are)(?: {it}{of})?",
        r"(?:it|they|there)(?:['’]s| is| are| has| have)",
        rf"with|{verb}|having|showing|containing|do(?:es)?(?= not )",
        rf"any|some|{them}",
    )
    place = rf"(?:i|o)n (?:it|them|(?:the|these|those) {noun})"
    ending = rf"\s+(?:there|here|at all|please|visible|(?:to be )?(?:seen|found)|{place})$"
    front = [re.compile(rf"^(?:{words})(?:\s+|$)", re.IGNORECASE) for words in asking]
    return front, re.compile(ending, re.IGNORECASE)


def _bare(text: str) -> str:
    return text.strip(" ?!.,;:…¿¡？！。\"'“”‘’")


def _reordered(rest: str, thing: str) -> str:
    """ "the cap scratched" -> "scratched cap"; "scratched parts" -> "scratched"."""
    words = _ARTICLE.sub("", rest, count=1).split() if rest else []
    if len(words) < 2:
        return rest
    own = rf"(.*\S) (?:{'|'.join(_NOUNS)}|{re.escape(thing)}s?)"
    found = re.fullmatch(own, " ".join(words), re.IGNORECASE)
    if found and is_state(found[1].split()[-1]):
        return found[1]
    if is_state(words[-1]) and not any(map(is_state, words[:-1])):
        first = len(words) - 1
        while first and _ADVERB.fullmatch(words[first - 1]):
            first -= 1
        name, state = words[:first], words[first:]
        if not name or " ".join(name).casefold() == thing.casefold():
            return " ".join(state)
        return " ".join(state + name)
    return rest


def _sides(phrase: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """States of an image that shows it, and of one that does not."""
    words = phrase.split()
    if is_state(words[-1]) and all(is_state(w) or _ADVERB.fullmatch(w) for w in words[:-1]):
        return (f"{phrase} {{}}",), (f"{{}} that is not {phrase}", "{}")
    return (f"{{}} with {phrase}",), (f"{{}} without {phrase}", "{}")
