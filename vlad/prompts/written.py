"""A prompt bank as the text of its TOML file."""

from __future__ import annotations

import json
from collections.abc import Sequence


def bank_text(
    title: str,
    source: str,
    licence: str,
    templates: Sequence[str],
    normal: Sequence[str],
    anomalous: Sequence[str],
    *,
    description: str = "",
    categories: Sequence[str] = (),
    noun: str = "",
    head: str = "",
) -> str:
    """The text of a bank with these values, as `vlad.prompts.load_bank` reads it.

    Args:
        head: lines of comment at the top.
    """
    lines = [f"# {line}" for line in head.splitlines()]
    lines += [f"{key} = {_text(value)}" for key, value in _named(title, source, licence)]
    lines += [f"description = {_text(description)}"] if description else []
    lines += [f"noun = {_text(noun)}"] if noun else []
    lines += _list("categories", categories) if categories else []
    lines += ["", *_list("templates", templates), "", "[states]"]
    lines += [*_list("normal", normal), *_list("anomalous", anomalous)]
    return "\n".join(lines) + "\n"


def _named(title: str, source: str, licence: str) -> list[tuple[str, str]]:
    return [("title", title), ("source", source), ("licence", licence)]


def _list(key: str, values: Sequence[str]) -> list[str]:
    return [f"{key} = [", *(f"  {_text(value)}," for value in values), "]"]


def _text(value: str) -> str:
    # JSON's texts are TOML's, but for the one control character that JSON leaves as it is
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
