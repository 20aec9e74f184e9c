"""What heads that describe normal images by moments share: how they learn, store and join these."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from vlad.errors import HeadError
from vlad.heads.head import Head
from vlad.maths.moments import Moments
from vlad.types import Features


class MomentGather:
    """A collector that keeps the moments of each layer.

    Args:
        head: what learns from them.
        rows: features of B images -> layer -> (N, ..., C).
    """

    def __init__(self, head: Head, rows: Callable[[Features], Mapping[str, torch.Tensor]]):
        self.head, self.rows = head, rows
        self.moments: dict[str, Moments] = {}

    def add(self, features: Features) -> None:
        """Add a batch."""
        for name, rows in self.rows(features).items():
            new, before = Moments.of(rows), self.moments.get(name)
            self.moments[name] = before.merge(new) if before else new

    def finish(self) -> None:
        """Store the moments in the head's memory; `known` checks them, once all are there."""
        self.head.memory_ = stored(self.moments)


def known(head: Head) -> dict[str, Moments]:
    """The moments in a head's memory.

    Raises:
        HeadError: it is not fitted, or its images tell no spread.
    """
    moments = moments_of(head.needed_memory())
    check(head, moments)
    return moments


def check(head: Head, moments: Mapping[str, Moments]) -> None:
    """Raise a HeadError if moments describe no spread."""
    for one in moments.values():
        if one.count < 2:
            raise HeadError(
                f"Head {head.name} learns how normal images differ, but there is one; give two or "
                "more."
            )
        spread = one.scatter.diagonal(dim1=-2, dim2=-1).sum()
        if not spread.isfinite():
            raise HeadError(
                f"Head {head.name}: a normal image gives features that are no numbers; leave it "
                "out, or choose another `backbone` or `dtype`."
            )
        if spread <= 0:
            raise HeadError(
                f"Head {head.name} learns how normal images differ, but all {one.count} are alike; "
                "give different ones."
            )


def stored(moments: Mapping[str, Moments]) -> dict[str, torch.Tensor]:
    """Moments of layers as one memory."""
    named = {name: one.tensors() for name, one in moments.items()}
    return {f"{name}.{part}": x for name, parts in named.items() for part, x in parts.items()}


def moments_of(memory: Mapping[str, torch.Tensor]) -> dict[str, Moments]:
    """What `stored` has made a memory of."""
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for key, x in memory.items():
        name, _, part = key.rpartition(".")
        layers.setdefault(name, {})[part] = x
    return {name: Moments.from_tensors(parts) for name, parts in layers.items()}


def merged(
    first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The memory of the images of both."""
    other = moments_of(second)
    return stored({name: one.merge(other[name]) for name, one in moments_of(first).items()})
