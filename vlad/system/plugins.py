"""What is loaded by name: ours, and the entry points of installed packages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from vlad.errors import VladError
from vlad.system.text import shown


def names(group: str, ours: Iterable[str] = ()) -> list[str]:
    """Our names in their order, then those of other packages."""
    return list(dict.fromkeys([*ours, *sorted(entry_points(group=group).names)]))


def load(group: str, name: str, ours: Mapping[str, str]) -> Any:
    """Import what has this name; None if nothing has.

    Args:
        ours: name -> "module:attribute"; these take precedence over other packages.

    Raises:
        VladError: the package that registers it cannot be imported.
    """
    if name in ours:
        return EntryPoint(name, ours[name], group).load()
    try:
        point = entry_points(group=group)[name]
    except KeyError:
        return None
    try:
        return point.load()
    except Exception as error:  # it is somebody else's program
        why = shown(f"{type(error).__name__}: {error}")
        raise VladError(
            f"{name}, registered under {group} as {point.value}, cannot be imported ({why}); "
            "correct or remove its package."
        ) from error
