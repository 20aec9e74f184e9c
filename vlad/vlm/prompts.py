"""Prompts to a vision-language model: TOML files with a text and named blanks in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vlad.errors import PromptError
from vlad.system.resources import data_folder
from vlad.system.tables import Table, read_table
from vlad.system.text import instead, shown

KEYS = ("title", "source", "licence", "description", "blanks", "text")
_BLANK = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True)
class VlmPrompt:
    """A prompt to a vision-language model.

    Attributes:
        name: file name without suffix.
        title, source, licence, description: metadata.
        blanks: the names that stand in the text in braces.
        text: the prompt with its blanks.
    """

    name: str
    title: str
    source: str
    licence: str
    description: str
    blanks: tuple[str, ...]
    text: str

    def fill(self, **values: str) -> str:
        """The text with a value in each blank; braces within a value stay as they are.

        Raises:
            PromptError: a blank without a value, or a value without a blank.
        """
        if odd := sorted(set(values) ^ set(self.blanks)):
            raise PromptError(
                f"The prompt {self.name} has the blanks {', '.join(self.blanks) or 'none'}, and "
                f"{odd[0]} is not in both it and the values; give one value for each blank."
            )
        return _BLANK.sub(lambda found: values[found[1]], self.text)


def prompt_names() -> list[str]:
    """The names of the prompts to a vision-language model that ship with vlad."""
    return sorted(path.stem for path in (data_folder("prompts") / "vlm").glob("*.toml"))


def load_prompt(name_or_path: str | Path) -> VlmPrompt:
    """A shipped prompt by name, or any by the path of its TOML file.

    Raises:
        PromptError: there is no such prompt, its file is unreadable, or its blanks differ from
            those in its text.
    """
    path = Path(name_or_path)
    if str(name_or_path) in prompt_names():
        path = data_folder("prompts") / "vlm" / f"{name_or_path}.toml"
    elif path.suffix != ".toml" and not path.is_file():
        known = prompt_names()
        or_path = f"choose one of {', '.join(known)}, or give the path of a TOML file"
        raise PromptError(
            f"Unknown prompt {str(name_or_path)!r} to a vision-language model"
            f"{instead(name_or_path, known, or_path)}"
        )
    table = Table(path, read_table(path, PromptError), KEYS, PromptError)
    text = table.text("text").strip()
    blanks = table.table.get("blanks", [])
    listed = isinstance(blanks, list) and all(isinstance(blank, str) for blank in blanks)
    table.need(listed, "blanks", "is not a list of texts; write it as one")
    used = set(_BLANK.findall(text))
    for blank in sorted(used ^ set(blanks)):
        where = "in the text only" if blank in used else "not in the text"
        table.need(False, "blanks", f"and text differ: {shown(blank)} is {where}; correct one")
    return VlmPrompt(
        path.stem,
        table.text("title"),
        table.text("source"),
        table.text("licence"),
        table.text("description", "").strip(),
        tuple(blanks),
        text,
    )
