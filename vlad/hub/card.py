"""The card of a detector or adapter: README.md of its repository."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from vlad import __version__
from vlad.adapters import is_plain_text
from vlad.errors import HubError
from vlad.system.text import shown

# licences that the hub knows by these words; others have a name of their own there
_KNOWN = {
    *("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "agpl-3.0"),
}


def card(
    kind: str,
    repository: str,
    facts: Iterable[tuple[str, str]],
    licence: str | None,
    commands: Iterable[str],
) -> bytes:
    """The text of a card.

    Args:
        kind: "detector" or "adapter".
        facts: name and value of each; one without a name belongs to the fact before it.
        licence: of what is in the repository; None is not stated.
        commands: that use it.

    Raises:
        HubError: the licence is not one line of text.
    """
    if licence is not None and not is_plain_text(licence):
        raise HubError(
            f"The licence {shown(licence)!r} is not one line of text; name it, as in Apache-2.0."
        )
    rows = [("licence", licence or "not stated"), *facts, ("vlad", __version__)]
    lines = [
        "---",
        "library_name: vlad",
        *_licence(licence),
        f"tags: [anomaly-detection, vlad-{kind}]",
        "---",
        "",
        f"# {repository.rpartition('/')[2]}",
        "",
        f"A saved {kind} of vlad, which finds defects in images. It holds tensors and tables; "
        "nothing in it is run.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows),
        "",
        "```bash",
        *commands,
        "```",
        "",
    ]
    return "\n".join(lines).encode("utf-8", "backslashreplace")


def _licence(words: str | None) -> list[str]:
    if words is None:
        return []
    if words.lower() in _KNOWN:
        return [f"license: {words.lower()}"]
    name = re.sub("[^a-z0-9.]+", "-", words.lower()).strip("-.") or "other"
    return ["license: other", f"license_name: {json.dumps(name)}"]


def _cell(text: str) -> str:
    """Text that stays inside its cell and is no markup."""
    return re.sub(r"([\\|`*_<>\[\]#!&])", r"\\\1", shown(text, keep=" "))
