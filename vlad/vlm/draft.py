"""States of a category as a vision-language model proposes them, from words alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from vlad.errors import VlmError
from vlad.prompts import SIDES, load_bank
from vlad.prompts.categories import check_category
from vlad.prompts.draft import Draft, sift
from vlad.prompts.written import bank_text
from vlad.system.text import shown
from vlad.vlm.model import VLM, Request
from vlad.vlm.prompts import load_prompt

PROMPT = "draft"
TEMPLATES = "winclip"  # the bank whose templates surround the states
ASKED = {"normal": 8, "anomalous": 16}  # phrases
MAX_TOKENS = 1024
LONGEST = 16  # hexadecimal digits of a digest
_LIST = {"type": "array", "items": {"type": "string"}}
SCHEMA = {
    "type": "object",
    "properties": dict.fromkeys(SIDES, _LIST),
    "required": list(SIDES),
}


def draft(vlm: VLM, category: str, cut: Callable[[str], bool]) -> Draft:
    """Ask a model for the states of a category, and drop what is of no use in a bank.

    Args:
        cut: sentence -> whether it is longer than the text encoder reads.

    Raises:
        PromptError: an invalid category.
        VlmError: the model cannot be asked, gives no answer, or nothing usable for a side.
    """
    category = check_category(category)
    text = load_prompt(PROMPT).fill(category=category, **{k: str(n) for k, n in ASKED.items()})
    (reply,) = vlm.ask([Request((), text)], SCHEMA, MAX_TOKENS)
    if reply.data is None:
        raise VlmError(
            f"{vlm.name} drafted no states of {category} ({shown(reply.error)}); use another model."
        )
    longest = max(load_bank(TEMPLATES).wording.templates["normal"], key=len)
    found = sift(
        reply.data, category, lambda x: cut(longest.replace("{}", x.replace("{}", category)))
    )
    for side in SIDES:
        if not getattr(found, side):
            of = [x for x in found.dropped if x.side == side]
            first = f": {shown(repr(of[0].phrase))} {of[0].why}" if of else ""
            raise VlmError(
                f"{vlm.name} drafted no usable {side} state of {category} ({len(of)} dropped"
                f"{first}); use another model, or write the states yourself."
            )
    return found


def text_of(found: Draft, vlm: VLM, category: str, date: str) -> str:
    """The TOML file of a drafted bank, with what it is from.

    Args:
        date: when it was drafted.
    """
    digest = hashlib.sha256(load_prompt(PROMPT).text.encode()).hexdigest()[:LONGEST]
    return bank_text(
        f"States of {category}, a draft",
        f"drafted by {vlm.name} on {date}; asked with prompts/vlm/{PROMPT}.toml, text {digest}",
        "none stated",
        load_bank(TEMPLATES).wording.templates["normal"],
        found.normal,
        found.anomalous,
        description="A model's proposal that no person has checked.",
        categories=[category],
        head="A draft: correct the states, state the licence, and measure the bank on your images.",
    )
