"""Rules for the parameters of a head: each class lists its rules, `load_head` checks them.

rules = {"top": SHARE, "rotations": whole(1, 360), "layers": optional(LAYERS)}
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vlad.adapters import Adapter
from vlad.adapters.layouts import LARGEST


@dataclass(frozen=True)
class Rule:
    """The values that a parameter accepts.

    Attributes:
        holds: returns whether a value is valid; must not raise for any value.
        must: the valid values in words, after "give" in the error.
    """

    holds: Callable[[Any], bool]
    must: str


def number(low: float, high: float, must: str) -> Rule:
    """A number from `low` to `high`, both included; neither NaN nor a bool."""

    def holds(value: Any) -> bool:
        return isinstance(value, int | float) and type(value) is not bool and low <= value <= high

    return Rule(holds, must)


def whole(low: int, high: int, must: str = "") -> Rule:
    """A whole number from `low` to `high`, both included."""
    must = must or f"a whole number from {low} to {high}"
    return Rule(lambda value: type(value) is int and low <= value <= high, must)


def one_of(*choices: str) -> Rule:
    """One of the given words."""
    return Rule(lambda value: isinstance(value, str) and value in choices, " or ".join(choices))


def list_of(item: Rule, must: str, least: int = 1) -> Rule:
    """A list or tuple of at least `least` valid items."""

    def holds(value: Any) -> bool:
        return (
            isinstance(value, list | tuple) and len(value) >= least and all(map(item.holds, value))
        )

    return Rule(holds, must)


def optional(rule: Rule) -> Rule:
    """None, or a value that `rule` accepts."""
    return Rule(lambda value: value is None or rule.holds(value), rule.must)


FLAG = Rule(lambda value: type(value) is bool, "true or false")
SHARE = number(0, 1, "a share from 0 to 1")
PART = Rule(lambda value: SHARE.holds(value) and value > 0, "a share above 0, up to 1")
_BLOCK = Rule(
    lambda value: whole(1, LARGEST).holds(value) or (type(value) is float and 0 < value <= 1), ""
)
_MEAN = list_of(_BLOCK, "", least=2)
LAYERS = list_of(
    Rule(lambda value: _BLOCK.holds(value) or _MEAN.holds(value), ""),
    "a list of blocks (whole numbers from 1, or fractions of the depth), or of lists to average",
)
ODD = Rule(lambda value: whole(1, 99).holds(value) and value % 2 == 1, "an odd number below 100")
ADAPTER = optional(
    Rule(
        lambda value: isinstance(value, str | os.PathLike | Adapter),
        "the name, folder or file of an adapter",
    )
)
