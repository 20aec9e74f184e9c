"""Tables that people write: TOML files, whose complaints name the file, the key and the fix."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

from vlad.errors import VladError
from vlad.system.resources import read_toml
from vlad.system.text import shown

Self = TypeVar("Self", bound="Table")


def read_table(path: Path, error: type[VladError]) -> dict[str, Any]:
    """The table in a TOML file.

    Raises:
        error: the file cannot be read, or holds something else.
    """
    try:
        return read_toml(path)
    except OSError as found:
        raise error(
            f"{path} cannot be read ({found.strerror}); correct the path, or make it readable."
        ) from found
    except ValueError as found:
        raise error(f"{path} is not a TOML file in UTF-8 ({found}); correct it.") from found


class Table:
    """Takes checked values out of a table.

    Args:
        path: the file that it is from.
        table: the values.
        keys: those it may have.
        error: what a complaint is raised as.
        prefix: what stands before its keys in the file.
    """

    def __init__(
        self,
        path: Path,
        table: dict[str, Any],
        keys: Collection[str],
        error: type[VladError],
        prefix: str = "",
    ) -> None:
        self.path, self.table, self.error, self.prefix = path, table, error, prefix
        for key in table:
            self.need(key in keys, key, f"is not a key here; use {', '.join(keys)}")

    def need(self, holds: object, key: str, fix: str) -> None:
        """Complain about a key if something does not hold; `fix` says what, and the remedy."""
        if not holds:
            raise self.error(f"{self.path}: {self.prefix}{shown(key)} {fix}.")

    def text(self, key: str, default: str | None = None, choices: Collection[str] = ()) -> str:
        """A text that is not blank; None as default is for one that may not be missing."""
        value: Any = self.table.get(key, default)
        self.need(isinstance(value, str), key, "is missing or no text; write it as a line of text")
        self.need(value.strip() or value == default, key, "is blank; fill it in")
        fix = f"is {shown(repr(value))}; choose {' or '.join(choices)}"
        self.need(not choices or value in choices, key, fix)
        return value

    def whole(self, key: str, low: int, high: int, default: int = 0) -> int:
        """A whole number from `low` to `high`, or the default."""
        value = self.table.get(key, default)
        fits = key not in self.table or (type(value) is int and low <= value <= high)
        self.need(fits, key, f"is {shown(repr(value))}; give a whole number from {low} to {high}")
        return value

    def number(
        self, key: str, low: float, high: float, default: float, above: bool = False
    ) -> float:
        """A number from `low`, or above it, to `high`."""
        value = self.table.get(key, default)
        fits = type(value) in (int, float) and low <= value <= high and not (above and value == low)
        words = f"above {low}, up to {high}" if above else f"from {low} to {high}"
        self.need(fits, key, f"is {shown(repr(value))}; give a number {words}")
        return float(value)

    def sub(self: Self, key: str, keys: Collection[str]) -> Self:
        """The table below a key; empty where there is none."""
        value = self.table.get(key, {})
        fix = f"is no table; write one below a line [{key}], with {' and '.join(keys)}"
        self.need(isinstance(value, dict), key, fix)
        return type(self)(self.path, value, keys, self.error, f"{self.prefix}{key}.")
