"""Heads: a few tensors of maths between features and scores.

A head is any object with

    bank            name of its default prompt bank, or None if it needs no text
    normals         "needed" (`fit` comes before `score`), "optional" or "unused"
    map_range       (low, high) bounds of its anomaly maps, known once it can score
    spec(backbone)     -> FeatureSpec for a BackboneInfo
    fit(features)   learns from images; returns itself; state ends in `_` (or no such method)
    score(features, text) -> Scores

to which `load_head` adds its `name`, as options, files and errors have it; and, where it has use
for them,

    rotations       how many rotated views of each reference `fit` is given
    adapter_        the learned tensors it was given (see vlad.adapters), once `spec` was asked for
    logits(features, sides) -> Logits
    layer_maps(patches, grid, size) -> (B, L, H, W) probabilities
                    what its adapter is trained by (see vlad.training)
    text_spec()     -> TextSpec, where tokens that are learned stand among its words
    approximate     True while it leaves out work that its method asks for
    transductive    True while it judges a whole list of images jointly; then it has
    pool()          -> Pool, which takes the place of `score`

Constructors only store their arguments. The first line of a head's docstring says what it does; its
paper stands in brackets there or in the docstring of its module, as in (Jeong et al., CVPR 2023,
arXiv 2303.14814). A head of another package registers under the entry-point group "vlad.heads".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from inspect import signature
from typing import TYPE_CHECKING, Literal, Protocol, TypeGuard

from vlad.errors import HeadError

if TYPE_CHECKING:
    import torch

    from vlad.types import BackboneInfo, Features, FeatureSpec, Scores, TextFeatures

HEADS = {
    "winclip": "vlad.heads.winclip:WinCLIP",
    "memory": "vlad.heads.memory:Memory",
    "patchcore": "vlad.heads.memory:patchcore",
    "musc": "vlad.heads.musc:MuSc",
    "april_gan": "vlad.heads.april_gan:AprilGAN",
    "anomalyclip": "vlad.heads.anomalyclip:AnomalyCLIP",
    "adaclip": "vlad.heads.adaclip:AdaCLIP",
    "linear": "vlad.heads.linear:Linear",
}


class Head(Protocol):
    """What every head offers; see this module's text."""

    name: str
    bank: str | None
    normals: Literal["needed", "optional", "unused"]
    map_range: tuple[float, float]
    memory_: dict[str, torch.Tensor]

    def spec(self, backbone: BackboneInfo) -> FeatureSpec: ...

    def fit(self, features: Features) -> Head: ...

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores: ...


class Transductive(Head, Protocol):
    """A head that judges a whole list of images jointly."""

    def pool(self) -> Pool: ...


class Pool(Protocol):
    """Collects the images that a transductive head judges jointly."""

    def add(self, features: Features, text: TextFeatures | None = None) -> None:
        """Takes in a batch."""

    def scores(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Scores]:
        """Scores of all that was added, in that order, in batches of any size.

        Args:
            progress: called with the steps done and the steps in all, in any unit.

        Raises:
            HeadError: too few images.
        """


def is_transductive(head: Head) -> TypeGuard[Transductive]:
    """Whether the head, as it is now, judges a list of images jointly."""
    return getattr(head, "transductive", False)


def protocol(head: Head) -> str:
    """What must be known of a head's results before they are compared with those of others.

    "zero-shot" or "few-shot"; before it "approximate" where the head is not quite its method, and
    "transductive" where it saw all images scored; behind it the auxiliary data of its adapter.
    """
    shown = hasattr(head, "memory_") and head.normals != "unused"
    parts = ["approximate"] * getattr(head, "approximate", False)
    parts += ["transductive"] * is_transductive(head) + ["few-shot" if shown else "zero-shot"]
    if hasattr(head, "adapter_"):
        parts.append(f"trained on {head.adapter_.auxiliary}")
    return ", ".join(parts)


def titled(name: str, protocol: str) -> str:
    """The name of a head with those parts of its protocol that plain heads do not have."""
    notes = [n for n in protocol.split(", ") if n not in ("", "zero-shot", "few-shot")]
    return f"{name} ({', '.join(notes)})" if notes else name


def head_names() -> list[str]:
    """Names of every head, ours and those that installed packages register."""
    return sorted({*HEADS, *(point.name for point in entry_points(group="vlad.heads"))})


def sorted_names(tensors: Mapping[str, object], prefix: str) -> list[str]:
    """The names "prefix0", "prefix1", ... among those of learned tensors, in this order."""
    return [name for i in range(len(tensors)) if (name := f"{prefix}{i}") in tensors]


def check_params(head: Head, rules: dict[str, tuple[bool, str]]) -> None:
    """Raises a HeadError for the first parameter of a head that breaks its rule.

    Args:
        rules: parameter -> (whether its value will do, what to give).
    """
    shown = getattr(head, "name", type(head).__name__)
    for name, (holds, must) in rules.items():
        if not holds:
            raise HeadError(f"Head {shown}: {name} is {getattr(head, name)!r}; give {must}.")


def whole_numbers(values: object) -> bool:
    """Whether it is a sequence of whole numbers above 0, not empty."""
    return (
        isinstance(values, list | tuple)
        and len(values) > 0
        and all(type(value) is int and value > 0 for value in values)
    )


def in_range(value: object, low: float, high: float = float("inf")) -> bool:
    """Whether it is a number from `low` to `high`."""
    return isinstance(value, int | float) and type(value) is not bool and low <= value <= high


def head_maker(name: str) -> Callable[..., Head]:
    """The class of a head by name, or a function that makes one.

    Raises:
        HeadError: an unknown name.
    """
    if name in HEADS:
        module, _, attribute = HEADS[name].partition(":")
        return getattr(import_module(module), attribute)
    found = entry_points(group="vlad.heads", name=name)
    if not found:
        raise HeadError(f"There is no head {name!r}; choose from {', '.join(head_names())}.")
    return next(iter(found)).load()


def load_head(name: str, **params) -> Head:
    """A new head by name.

    Raises:
        HeadError: an unknown name, or a parameter the head does not have.
    """
    make = head_maker(name)
    try:
        head = make(**params)
    except TypeError as error:
        own = ", ".join(signature(make).parameters) or "none"
        raise HeadError(
            f"Head {name} cannot be made with {params} ({error}); choose from its parameters "
            f"({own})."
        ) from None
    head.name = name
    return head
