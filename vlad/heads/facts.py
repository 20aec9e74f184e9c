"""What a head needs and which paper it follows, read from the head itself, for `vlad heads`."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import dataclass

from vlad.heads import Head, head_maker, load_head


@dataclass(frozen=True)
class HeadFacts:
    """The facts listed about a head.

    Attributes:
        name: the value for `--head`.
        needs: what it needs besides the images.
        summary: the first sentence of its docstring.
        paper: authors, venue and arXiv number; empty for a method of ours.
    """

    name: str
    needs: str
    summary: str
    paper: str


def head_facts(name: str) -> HeadFacts:
    """The facts of a head by name.

    Raises:
        HeadError: an unknown name.
    """
    make = head_maker(name)
    text = inspect.getdoc(make) or ""
    paper = _paper(text) or _paper(sys.modules[make.__module__].__doc__ or "")
    return HeadFacts(name, _needs(load_head(name)), text.partition("\n")[0].rstrip("."), paper)


def _paper(text: str) -> str:
    found = re.search(r"\(([^()]*arXiv\s\d{4}\.\d{5})\)", text)
    return " ".join(found[1].split()) if found else ""


def _needs(head: Head) -> str:
    from vlad.prompts import load_bank

    parts = []
    # a bank with its own noun has the same prompts for every category
    if head.bank and not load_bank(head.bank).noun:
        parts.append("a category")
    adapter = getattr(head, "needs_adapter", None)
    if adapter:
        parts.append("an adapter")
    if getattr(head, "asked", ""):
        parts.append("a vision-language model")
    if head.normals == "needed":
        parts.append("normal images")
    if head.transductive and head.normals == "unused":
        parts.append("several images")
    extra = ["an adapter"] * (adapter is False)
    extra += ["normal images"] * (head.normals == "optional")
    needs = ", ".join(parts) or "nothing"
    return f"{needs}; {' and '.join(extra)} optional" if extra else needs
