"""Heads: a few tensors of maths between features and scores.

A head is any object with

    bank            name of its default prompt bank, or None if it needs no text
    needs_normals   whether `fit` must be called before `score`
    map_range       (low, high) bounds of its anomaly maps, known once it can score
    spec(tower)     -> FeatureSpec for a TowerInfo
    fit(features)   learns from normal pictures; returns itself; state ends in `_`
    score(features, text) -> Scores

and, where it wants its references rotated, `rotations`. Constructors only store their arguments.
A head of another package registers under the entry-point group "vlad.heads".
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from vlad.errors import HeadError

if TYPE_CHECKING:
    import torch

    from vlad.types import Features, FeatureSpec, Scores, TextFeatures, TowerInfo

HEADS = {
    "winclip": "vlad.heads.winclip:WinCLIP",
    "memory": "vlad.heads.memory:Memory",
    "patchcore": "vlad.heads.memory:patchcore",
}


class Head(Protocol):
    """What every head offers; see this module's text."""

    bank: str | None
    needs_normals: bool
    map_range: tuple[float, float]
    memory_: dict[str, torch.Tensor]

    def spec(self, tower: TowerInfo) -> FeatureSpec: ...

    def fit(self, features: Features) -> Head: ...

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores: ...


def head_names() -> list[str]:
    """Names of every head, ours and those that installed packages register."""
    return sorted({*HEADS, *(point.name for point in entry_points(group="vlad.heads"))})


def check_params(head: Head, rules: dict[str, tuple[bool, str]]) -> None:
    """Raises a HeadError for the first parameter of a head that breaks its rule.

    Args:
        rules: parameter -> (whether its value will do, what it must be).
    """
    for name, (holds, must) in rules.items():
        if not holds:
            raise HeadError(
                f"{type(head).__name__}: {name} is {getattr(head, name)!r}; it must be {must}."
            )


def whole_numbers(values: object) -> bool:
    """Whether it is a sequence of whole numbers above 0, not empty."""
    return (
        isinstance(values, list | tuple)
        and len(values) > 0
        and all(type(value) is int and value > 0 for value in values)
    )


def in_range(value: object, low: float, high: float = float("inf")) -> bool:
    """Whether it is a number from `low` to `high`."""
    return type(value) in (int, float) and low <= value <= high


def load_head(name: str, **params) -> Head:
    """A new head by name.

    Raises:
        HeadError: an unknown name, or a parameter the head does not have.
    """
    if name in HEADS:
        module, _, attribute = HEADS[name].partition(":")
        make = getattr(import_module(module), attribute)
    else:
        found = entry_points(group="vlad.heads", name=name)
        if not found:
            raise HeadError(f"There is no head {name!r}; choose from {', '.join(head_names())}.")
        make = next(iter(found)).load()
    try:
        return make(**params)
    except TypeError as error:
        raise HeadError(f"Head {name} cannot be made with {params}: {error}.") from None
