"""Numbers that users give, checked where they enter."""

from __future__ import annotations

import math

from vlad.errors import InputError
from vlad.system.text import shown

_LARGEST = 2**40  # of any count; torch and Pillow take no larger ones


def check_count(name: str, value: object, low: int, high: int = _LARGEST) -> None:
    """Check for a whole number from `low` to `high`; raise an InputError if it is not one."""
    if type(value) is not int or not low <= value <= high:
        span = f"from {low} to {high}" if high < _LARGEST else f"of {low} or more"
        raise InputError(f"{name} is {shown(repr(value))}; give a whole number {span}.")


def check_share(name: str, value: object, low: float = 0, high: float = 1) -> None:
    """Check for a number between `low` and `high`, both excluded; raise an InputError if not."""
    number = value if isinstance(value, int | float) and type(value) is not bool else math.nan
    if not low < number < high:  # written so that NaN fails
        raise InputError(f"{name} is {shown(repr(value))}; give a number between {low} and {high}.")
