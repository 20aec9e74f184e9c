"""Every message of vlad's errors names the thing and the remedy, in one sentence."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlad import errors
from vlad.heads import HEADS

PACKAGE = Path(errors.__file__).parent
RAISED = {name for name, item in vars(errors).items() if inspect.isclass(item)}
CLICKS = {"UsageError", "BadParameter", "ClickException"}
# what stands in a template for a value that is put in
VALUE = "\0"
REMEDIES = {
    "add", "ask", "begin", "bring", "calibrate", "call", "check", "choose", "connect", "convert",
    "copy", "correct", "fill", "fit", "free", "get", "give", "go", "import", "install", "keep",
    "label", "leave", "let", "list", "lower", "make", "name", "prepare", "put", "raise",
    "read", "register", "remove", "rename", "repeat", "rescale", "resume", "save", "say", "score",
    "set", "shrink", "take", "unpack", "use", "write",
}  # fmt: skip


def templates() -> Iterator[tuple[str, str, bool]]:
    """(place, text of a message with VALUE for its values, whether it is a whole sentence)."""
    for file in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            # the readers of TOML put the file and the key before what `need` is told
            # of an error whose class the caller chooses, it is made by `refused`
            if name in {*RAISED, *CLICKS, "need", "refused"}:
                inside = [f for f in functions if f.lineno <= call.lineno <= f.end_lineno]
                for text in texts(call.args[-1], inside):
                    place = f"{file.relative_to(PACKAGE.parent)}:{call.lineno}"
                    yield place, text, name != "need"


def texts(node: ast.expr, functions: list[ast.FunctionDef]) -> list[str]:
    """What an expression may say; of a variable, all that the functions around it assign to it."""
    if isinstance(node, ast.Constant):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(map(part_of, node.values))]
    if isinstance(node, ast.Name):
        assigned = [
            item.value
            for function in functions
            for item in ast.walk(function)
            if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == node.id
        ]
        if assigned:
            return [text for value in assigned for text in texts(value, functions)]
    return [f"<not a literal: {ast.unparse(node)}>"]


def part_of(part: ast.expr) -> str:
    """A part of a template; `instead` ends a sentence as tests/system/test_text.py has it."""
    if isinstance(part, ast.FormattedValue):
        ends = isinstance(part.value, ast.Call) and ast.unparse(part.value.func) == "instead"
        return f"; choose from {VALUE}." if ends else VALUE
    return part.value


def faults(text: str, whole: bool, place: str) -> list[str]:
    """Which of the rules a message breaks."""
    named = [VALUE, r"(?<!-)--[a-z]", "`", r"\b[A-Z]+_[A-Z]+\b", rf"\b({'|'.join(HEADS)})\b"]
    rules = {
        "names neither a value, an option, a quoted name, a variable nor a head": not whole
        or re.search("|".join(named), text),
        "is not one sentence": (text[-1] == ".") == whole
        and not re.search(r"\n|[.?!] [A-Z]", text),
        "does not end with a remedy": re.split("[;:] ", text)[-1].split(" ")[0] in REMEDIES
        and re.search("[;:] ", text),
        # whoever calls a library knows no options; vlad.cli writes `k_shot` as --k-shot
        "names an option outside the commands": place.startswith(("vlad/commands/", "vlad/cli.py"))
        or not re.search(r"(?<!-)--[a-z]", text),
    }
    return [fault for fault, holds in rules.items() if not holds]


FOUND = sorted(set(templates()))


def test_there_are_as_many_messages_as_raises():
    lines = [file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py")]
    raised = re.findall(rf"raise (?:{'|'.join(RAISED)})\(", "\n".join(lines))
    assert len([place for place, _, whole in FOUND if whole]) >= len(raised) > 200


@pytest.mark.parametrize(("place", "text", "whole"), FOUND, ids=[found[0] for found in FOUND])
def test_message(place, text, whole):
    if f"{VALUE}{VALUE} {VALUE}." in text:
        # of `need` itself
        assert place.startswith(("vlad/prompts/__init__.py", "vlad/training/recipe.py"))
    else:
        assert not faults(text, whole, place), text.replace(VALUE, "{}")
